"""The ends of what runs and their jobs printed."""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import read_bytes
from resnet_repro.visible import visible

LINES = 20  # of each log
LAST_BYTES = 2**15
MOST = 20  # runs

# Finds what the last jobs of runs printed, by the runs' digests.
FindLogs = Callable[[Collection[str]], dict[str, Path]]


def named_run(name: str, results: Path) -> Path:
    """Return the folder of the run whose id is, or begins with, a name.

    Raises:
        UserError: There is none, or there are several.
    """
    runs = results / "runs"
    if Path(name).resolve().parent == runs.resolve():  # a path, as a shell completes it
        name = Path(name).name
    there = sorted(path.name for path in runs.glob("*-seed*-*") if path.name.startswith(name))
    if not there and re.fullmatch(r".*-seed\d+-[0-9a-f]{8}", name):
        return runs / name  # its job may have ended before it began
    if not there:
        raise UserError(f"no run in {runs} has an id that begins with {name}")
    if len(there) > 1 and name not in there:
        some = ", ".join(there[:5]) + (" ..." if len(there) > 5 else "")
        raise UserError(f"{len(there)} runs in {runs} have an id that begins with {name}: {some}")
    return runs / (name if name in there else there[0])


def logs_text(folders: list[Path], find_logs: FindLogs) -> str:
    """Return the ends of the logs of runs: the run's own, and the one of its last job.

    Raises:
        UserError: These are too many runs.
    """
    if len(folders) > MOST:
        raise UserError(
            f"these are {len(folders)} runs: select {MOST} at most, by an id, row= and seeds= or "
            f"state=failed"
        )
    jobs = find_logs({folder.name[-8:] for folder in folders})
    return "\n\n".join("\n".join(_run(each, jobs.get(each.name[-8:]))) for each in folders)


def _run(folder: Path, job: Path | None) -> Iterator[str]:
    yield folder.name
    paths = [path for path in (folder / "run.log", job) if path and path.is_file()]
    if not paths:
        yield f"  there is no log: {folder} has not been started here"
    for path in paths:
        lines = _end(path)
        yield f"  {path}" + (f", last {LINES} lines:" if len(lines) > LINES else ":")
        yield from (f"    {line}" for line in lines[-LINES:])


def _end(path: Path) -> list[str]:
    try:
        content = read_bytes(path, LAST_BYTES) or b""
    except OSError as error:
        return [f"it cannot be read: {error.strerror}"]
    text = content.decode(errors="replace").replace("\r", "\n")  # progress bars
    return [visible(line) for line in text.split("\n") if line.strip()]
