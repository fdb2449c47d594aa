"""Tests of ensembles and of imported weights: folders that have nothing else."""

from pathlib import Path

from resnet_repro.records import Record
from resnet_repro.records.collect.line import Action
from resnet_repro.records.collect.source import Source
from resnet_repro.records.collect.training import other_test
from resnet_repro.records.errors import DamagedError


def merge_tests(source: Source, folder: Path, results: Path) -> Action:
    """Add the tests in a folder of the source to those that are here."""
    inner = folder.relative_to(source.root)
    here = Record(results / inner)
    try:
        theirs, ours = Record(folder).evaluations(), here.evaluations()
    except DamagedError as error:
        return Action("damaged", str(inner), source.name, source.say(error))
    why = other_test(ours, theirs)
    if why:
        reason = f"{why} in {here.folder} and {source.label(folder)}: nothing of it was changed"
        return Action("conflict", str(inner), source.name, reason)
    new = theirs.keys() - ours.keys()
    if not new:
        return Action("kept", str(inner), source.name)
    here.folder.mkdir(parents=True, exist_ok=True)
    for key in sorted(new):
        here.add_evaluation(key, **theirs[key])
    return Action("updated" if ours else "copied", str(inner), source.name, ", ".join(sorted(new)))
