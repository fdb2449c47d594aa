"""The folders of runs, copied whole or brought up to date."""

import errno
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.files import read_bytes
from resnet_repro.records import Record, curves
from resnet_repro.records.archive import Result
from resnet_repro.records.collect.line import Action
from resnet_repro.records.collect.source import CHECKPOINT, RECORD, SAVED, TESTS, Source
from resnet_repro.records.collect.staging import readable, stage
from resnet_repro.records.collect.training import Training, contradiction, read_training
from resnet_repro.records.errors import DamagedError, LockedError

REMEDY = "nothing of it was changed; delete the wrong one and collect again"


@dataclass
class Target:
    """The results that others are merged into.

    Attributes:
        results: The output root.
        staging: An empty folder on the file system of the runs, where copies become whole.
        with_weights: Whether checkpoints are copied.
        names: The folders of runs, by run (`0-261958b2`: the seed and the digest).
        recorded: The results in files of records, by run, each with its file.
    """

    results: Path
    staging: Path
    with_weights: bool
    names: dict[str, str]
    recorded: dict[str, tuple[Result, Path]]


def merge_run(source: Source, id: str, run: str, target: Target) -> Action:
    """Merge the folder of a run.

    Args:
        source: Where it is.
        id: The name of its folder there.
        run: Its seed and digest, `0-261958b2`.
        target: What it is merged into; `names` is brought up to date.

    Raises:
        OSError: The target cannot be written.
    """
    reason: str | None
    folder, here = source.runs / id, target.results / "runs" / target.names.get(run, id)
    try:
        with readable(folder):
            _check_alone(folder)
            files = source.files(folder, with_weights=target.with_weights)
        if run in target.names:
            _check_alone(here)
            if _is_same(files, folder, here):
                return Action("kept", id, source.name)
        with readable(folder):
            there = read_training(folder)
        if not there.num_events:
            return Action("skipped", id, source.name, "nothing is recorded in it yet")
        ours = read_training(here) if run in target.names else None
        why = contradiction(ours, there) if ours else None
        where = here
        if not why and not (ours and ours.end) and run in target.recorded:
            result, where = target.recorded[run]
            why = _other_end(result, there)
        if why:
            action, reason = "conflict", f"{why} in {where} and {source.label(folder)}: {REMEDY}"
        elif ours:
            action, reason = _update(here, ours, there, files, target)
        else:
            action, reason = "copied", _copy(here, there, files, target)
            target.names[run] = id
    except DamagedError as error:
        action, reason = "damaged", source.say(error)
    except LockedError as error:
        action, reason = "skipped", f"a process is in {source.say(error)}"
    return Action(action, id, source.name, reason)


def _is_same(files: Iterable[Path], folder: Path, here: Path) -> bool:
    """Return whether a run's records are the same bytes here, as for most that are collected again.

    Its checkpoint is that of the iteration in `saved`.
    """
    if any(path.name == CHECKPOINT and not (here / CHECKPOINT).exists() for path in files):
        return False
    names = (RECORD, TESTS, "environment.json", SAVED)
    with suppress(OSError):
        return all(read_bytes(folder / name) == read_bytes(here / name) for name in names)
    return False


def _other_end(result: Result, there: Training) -> str | None:
    """Return how a result contradicts a run that has ended; None where it does not."""
    if there.end is None or (result.state, result.weights) == (
        there.end["event"],
        there.end["weights"],
    ):
        return None
    return f"other weights ({_short(result.weights)} and {_short(there.end['weights'])})"


def _short(weights: str | None) -> str:
    return str(weights)[:8]


def _copy(here: Path, there: Training, files: list[Path], target: Target) -> str:
    """Copy a run that is not here; return how far it is."""
    copies = stage(files, there.folder, target.staging)
    _check_alone(there.folder)
    try:
        copies.rename(here)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise LockedError(str(here)) from error  # it has just begun here
    if target.with_weights and there.checkpoint < 0:
        return f"{there}; there is no checkpoint to copy"
    if not target.with_weights and not there.end:
        return f"{there}; its checkpoint is not copied, with_weights=true does"
    return str(there)


def _update(
    here: Path, ours: Training, there: Training, files: list[Path], target: Target
) -> tuple[str, str | None]:
    """Bring a run that is here up to date; return what was done, and why."""
    taken = [path for path in files if _is_wanted(path, ours, there)]
    if there.folder / CHECKPOINT in taken:
        taken += [path for path in files if path.name == SAVED and path not in taken]
    if not taken:
        is_further = ours.progress > there.progress
        return "kept", f"{ours} here, {there} there" if is_further else None
    copies = stage(taken, there.folder, target.staging)
    _check_alone(there.folder)
    with Record(here).locked():
        if len(Record(here).events()) != ours.num_events:  # somebody was faster
            raise LockedError(str(here))
        for path in taken:  # each whole, in an order in which a run can be read at any time
            inner = path.relative_to(there.folder)
            if path.name == TESTS:
                _add_tests(here, there)
                continue
            (here / inner).parent.mkdir(exist_ok=True)
            (copies / inner).replace(here / inner)
    if there.progress > ours.progress:
        return "updated", f"{ours} before, {there} now"
    return "updated", f"with {', '.join(path.name for path in taken)}"


def _add_tests(here: Path, there: Training) -> None:
    """Add the tests that a run does not have here; another process may add one meanwhile."""
    record = Record(here)
    for key in there.tests.keys() - record.evaluations().keys():
        record.add_evaluation(key, **there.tests[key])
        if found := curves.read_curves(there.folder, key):
            curves.write_curves(here, key, found)


def _check_alone(folder: Path) -> None:
    if Record(folder).is_running():
        raise LockedError(str(folder))


def _is_wanted(path: Path, ours: Training, there: Training) -> bool:
    """Return whether a file of the source has more than there is here."""
    if there.progress < ours.progress:
        return False
    if path.name == CHECKPOINT:
        return there.checkpoint > ours.checkpoint
    is_further = there.progress > ours.progress
    if path.name == SAVED:  # it tells of the checkpoint that is here, where there is one
        return is_further and ours.checkpoint < 0
    if path.name == TESTS:
        return bool(there.tests.keys() - ours.tests.keys())
    if path.name == RECORD:
        return is_further or len(there.measured) > len(ours.measured)
    if path.name == "environment.json":
        return is_further or len(there.sessions) > len(ours.sessions)
    return is_further
