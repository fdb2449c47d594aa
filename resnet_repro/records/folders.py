"""Which runs have folders: a listing of `<results>/runs`, made again when it has changed.

Asked run by run, a sweep of thousands of runs would read thousands of names thousands of times.
"""

import re
import time
from pathlib import Path

Names = dict[int, dict[str, str]]  # of folders, by seed, then by digest

_RUN = re.compile(r".*-seed(0|[1-9]\d*)-([0-9a-f]{8})")
# A listing made just after a change may lack another change in the same tick of the file system's
# clock, so it is not kept.
_SETTLED = 2 * 10**9  # nanoseconds
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
            names.setdefault(int(match[1]), {}).setdefault(match[2], name)
    if now - about.st_mtime_ns > _SETTLED:
        _listings[key] = about.st_mtime_ns, names
    return names
