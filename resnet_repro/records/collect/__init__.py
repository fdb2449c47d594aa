"""The results of several machines, merged into one folder, so that one table has them all."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import exclusive_lock
from resnet_repro.plan import is_published
from resnet_repro.records import Record
from resnet_repro.records.collect.archives import merge_archive, recorded_in
from resnet_repro.records.collect.line import Action
from resnet_repro.records.collect.pack import unpack
from resnet_repro.records.collect.runs import Target, merge_run
from resnet_repro.records.collect.source import Source
from resnet_repro.records.collect.tested import merge_tests
from resnet_repro.records.folders import run_folders
from resnet_repro.records.members import is_packed

LOCK, STAGING = ".collect.lock", ".collect"  # in the folder of runs: copies are renamed within it


def collect_results(
    sources: Sequence[Path], results: Path, *, with_weights: bool = False
) -> Iterator[Action]:
    """Merge the results of several machines into one output root.

    A run is copied whole, or not at all; what is here is never replaced by another training of the
    same run, nor by less of the same one.

    Args:
        sources: Output roots, or tar or zip files of such.
        results: The output root; made where there is none.
        with_weights: Copy the last checkpoint of each run too.

    Yields:
        What was done, as it is done.

    Raises:
        UserError: A source has nothing to collect, cannot be read, or is the target itself.
        OSError: The target cannot be written.
    """
    if results.exists() and not results.is_dir():
        raise UserError(f"results={results}: it must be a folder")
    for path in sources:
        _check_source(path, results)
    runs = results / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(runs / LOCK):
        for path in sources:
            with (
                _emptied(runs / STAGING) as staging,
                _opened(path, staging, with_weights=with_weights) as (source, refused),
            ):
                for name in refused:
                    reason = "it leads out of the file, or is a link"
                    yield Action("skipped", name, source.name, reason)
                yield from _merge(source, results, staging, with_weights=with_weights)


def _check_source(path: Path, results: Path) -> None:
    """Raise a UserError unless there is something to collect."""
    if not path.exists():
        raise UserError(f"{path}: there is no such folder or file")
    if path.resolve() == results.resolve():
        raise UserError(
            f"{path} is the target folder (results=): name the folders of other machines"
        )
    if is_published(path):
        raise UserError(
            f"{path} is published, and is not mixed with results of your own: "
            f"`resnet-repro compare {results} {path}` compares them"
        )
    try:
        if path.is_dir():
            inner = path / "results"
            found = Source(path, str(path)).has_results()
            more = f"; {inner} has" if Source(inner, str(inner)).has_results() else ""
        else:
            found, more = is_packed(path), ""
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    if not found and path.is_dir():
        raise UserError(f"{path} has no runs and no records{more}")
    if not found:
        raise UserError(f"{path} is neither a folder of results nor a .tar, .tar.gz or .zip")


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Make an empty folder, whatever an interrupted `collect` left of it, and remove it again."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened(path: Path, staging: Path, *, with_weights: bool) -> Iterator[tuple[Source, list[str]]]:
    """Return a source, and the names of a packed file's members that are refused."""
    if path.is_dir():
        yield Source(path, str(path)), []
        return
    folder = staging / "unpacked"
    folder.mkdir()
    root, refused = unpack(path, folder, with_weights=with_weights)
    source = Source(root, str(path))
    if not source.has_results():
        raise UserError(f"{path} has no runs and no records")
    yield source, refused


def _merge(source: Source, results: Path, staging: Path, *, with_weights: bool) -> Iterator[Action]:
    """Merge one source: runs, tests, then files of records, which tell of runs too."""
    runs = run_folders(results / "runs")
    names = {f"{seed}-{digest}": id for seed, ids in runs.items() for digest, id in ids.items()}
    target = Target(results, staging, with_weights, names, recorded_in(results))
    theirs = [
        (id, f"{seed}-{digest}")
        for seed, ids in source.names.items()
        if seed is not None  # an ensemble's, whose tests come below
        for digest, id in ids.items()
    ]
    merged, left_out = set[str](), set[str]()
    for id, run in sorted(theirs):
        line = merge_run(source, id, run, target)
        if line.action in ("copied", "updated", "kept"):
            merged.add(run)
        elif line.action != "damaged" and Record(source.runs / id).events():
            left_out.add(run)  # else a file of records may have the result
        yield line
    for folder in source.tested():
        yield merge_tests(source, folder, results)
    for path in source.archives:
        yield from merge_archive(source, path, target, merged, left_out)
    for name, why in source.left_out():
        yield Action("skipped", name, source.name, why)
