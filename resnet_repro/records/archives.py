"""Finding the files of records in a folder of results, and pairing those of two folders."""

from fnmatch import fnmatch
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.records.archive import NAME, read_archive

# Folders in an experiment's folder that hold tables with other settings.
CHANGED = ("changed-*", "sweep-*")


def find_archives(folder: Path) -> list[Path]:
    """Return the files of records in a folder of one experiment or of all results.

    Raises:
        UserError: There are none.
    """
    if (folder / NAME).is_file():
        return [folder / NAME]
    found = archives_in(folder)
    if not found:
        raise UserError(f"{folder}: there is no {NAME} in it or in its experiments' folders")
    return found


def archives_in(results: Path) -> list[Path]:
    """Return every file of records of an output root, those of changed settings and sweeps last."""
    inner = (each for kind in CHANGED for each in sorted(results.glob(f"*/{kind}/{NAME}")))
    return [*sorted(results.glob(f"*/{NAME}")), *inner]


def pair_archives(ours: list[Path], theirs: list[Path]) -> list[tuple[Path, Path]]:
    """Return the pairs of files to compare: two single files, or those with equal settings.

    Raises:
        UserError: The folders have no experiment in common.
    """
    if len(ours) == len(theirs) == 1:
        pairs = [(ours[0], theirs[0])]
    else:
        places = [{_experiment_and_changes(path): path for path in each} for each in (ours, theirs)]
        pairs = [(path, places[1][key]) for key, path in places[0].items() if key in places[1]]
    for one, other in pairs:
        names = read_archive(one).experiment, read_archive(other).experiment
        if names[0] != names[1]:
            raise UserError(
                f"{one} is of {names[0]}, {other} of {names[1]}: compare the same experiment"
            )
    if not pairs:
        raise UserError("the two folders have no experiment with the same settings in common")
    return pairs


def _experiment_and_changes(path: Path) -> tuple[str, str]:
    """Return a file's experiment and settings, from the names of its folders."""
    folder = path.parent
    if any(fnmatch(folder.name, kind) for kind in CHANGED):
        return folder.parent.name, folder.name
    return folder.name, ""
