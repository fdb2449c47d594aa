"""The folders of runs: a cached listing of `<results>/runs`, renewed when that has changed.

Without the cache, a sweep of thousands of runs would list thousands of names thousands of times.
"""

import re
import time
from pathlib import Path

# Names of folders, by seed (of ensembles None), then by digest.
Names = dict[int | None, dict[str, str]]

# On disks of other systems, macOS writes a file ._NAME beside NAME.
_RUN = re.compile(r"(?!\.).*-(?:seed(0|[1-9]\d*)|of\d+)-([0-9a-f]{8})")
# A listing just after a change may miss another one in the same tick of the file system's clock, so
# it is not cached.
SETTLED = 2 * 10**9  # nanoseconds
_listings: dict[tuple[int, int], tuple[int, Names]] = {}  # by device and inode: time of change


def run_folders(runs: Path) -> Names:
    """Return the names of the folders in `runs`; of several for one run, the first."""
    if not runs.is_dir():
        return {}
    about = runs.stat()
    key = about.st_dev, about.st_ino
    changed, names = _listings.get(key, (None, {}))
    if changed == about.st_mtime_ns:
        return names
    now, names = time.time_ns(), {}
    for name in sorted(path.name for path in runs.iterdir()):
        match = _RUN.fullmatch(name)
        if match:
            seed = None if match[1] is None else int(match[1])
            names.setdefault(seed, {}).setdefault(match[2], name)
    if now - about.st_mtime_ns > SETTLED:
        _listings[key] = about.st_mtime_ns, names
    return names
