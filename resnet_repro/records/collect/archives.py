"""Files of records, merged result by result."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import exclusive_lock
from resnet_repro.records import Event, Record
from resnet_repro.records.archive import Archive, Result, load_archive, save_archive
from resnet_repro.records.collect.line import Action
from resnet_repro.records.collect.runs import REMEDY, Target
from resnet_repro.records.collect.source import Source
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.find_archives import archives_in
from resnet_repro.records.results import unite
from resnet_repro.settings.sweep import unite_sweeps


def recorded_in(results: Path) -> dict[str, tuple[Result, Path]]:
    """Return the results in all files of records that can be read, by run, each with its file."""
    found: dict[str, tuple[Result, Path]] = {}
    for path in archives_in(results):
        try:
            archive = load_archive(path)
        except UserError:
            continue
        for result in archive.results.values():
            found.setdefault(result.run, (result, path))
    return found


def merge_archive(
    source: Source,
    path: Path,
    target: Target,
    merged: Collection[str],
    left_out: Collection[str],
) -> Iterator[Action]:
    """Merge a file of records into the one of the same experiment and settings.

    Args:
        source: Where it is.
        path: The file.
        target: What it is merged into.
        merged: Runs whose folders were merged from the same source: nothing is said of them.
        left_out: Runs that were not, on purpose.

    Yields:
        What was done with each result that has no folder in the source.

    Raises:
        OSError: The target cannot be written.
    """
    inner = path.relative_to(source.root)
    try:
        theirs = load_archive(path)
        if theirs.experiment != inner.parts[0]:
            raise UserError(f"{path} is of {theirs.experiment}: it is in another one's folder")
    except UserError as error:
        yield Action("damaged", str(inner), source.name, source.say(error))
        return
    for message in theirs.damaged:
        yield Action("damaged", str(inner), source.name, source.say(UserError(message)))
    with exclusive_lock(target.results / "runs" / ".lock"):  # jobs of a cluster write it too
        here = target.results / inner
        is_new = not here.exists()
        try:
            ours = replace(theirs, results={}) if is_new else _whole(here)
            changes = unite_sweeps(ours.changes, theirs.changes)
        except UserError as error:
            yield Action("damaged", str(inner), source.name, str(error))
            return
        results, lines = dict(ours.results), []
        for result in theirs.results.values():
            if not result.ended or result.run in left_out:
                continue
            what = f"{inner}: {result.id}"
            action, why = _merge(result, results, here, target, merged)
            if why:
                reason = f"{why} and {source.label(path)}: {REMEDY}"
                lines.append(Action(action, what, source.name, reason))
            elif result.run not in merged:
                lines.append(Action(action, what, source.name))
        if results and (is_new or results != ours.results or changes != ours.changes):
            save_archive(here, replace(ours, changes=changes, results=results))
            if not lines:
                lines = [Action("copied" if is_new else "updated", str(inner), source.name)]
    yield from lines


def _whole(path: Path) -> Archive:
    """Read a file of records that is here; raise a UserError where writing it would lose a run."""
    archive = load_archive(path)
    if archive.damaged:
        raise UserError(f"{archive.damaged[0]}; repair that file, then collect again")
    return archive


def _merge(
    result: Result,
    results: dict[str, Result],
    here: Path,
    target: Target,
    merged: Collection[str],
) -> tuple[str, str | None]:
    """Add a result to those of its table; return what was done, and why not."""
    before = results.get(result.id)
    other, where = (before, here) if before else target.recorded.get(result.run, (None, here))
    if other is None and result.run in target.names and result.run not in merged:
        where = target.results / "runs" / target.names[result.run]
        with suppress(DamagedError):
            if _ends_otherwise(result, Record(where).events()[-1:]):
                return "conflict", f"other weights in {where}"
    if other and (other.state, other.weights) != (result.state, result.weights):
        return "conflict", f"other weights in {where}"
    united = unite(result, before) if before else result
    if united is None:
        return "conflict", f"other test results in {where}"
    results[result.id] = united
    target.recorded.setdefault(result.run, (united, here))
    if before is None:
        return "copied", None
    return "kept" if united == before else "updated", None


def _ends_otherwise(result: Result, last: list[Event]) -> bool:
    """Return whether the last event of a run says that it ended otherwise than a result."""
    return any(
        each["event"] in ("finished", "diverged")
        and (each["event"], each["weights"]) != (result.state, result.weights)
        for each in last
    )
