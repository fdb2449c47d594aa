"""What `compare` is given: folders of results, packed ones, files of records; each has a name."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from resnet_repro.errors import UserError
from resnet_repro.plan import PUBLISHED
from resnet_repro.records.archive import RECORDS_FILE
from resnet_repro.records.find_archives import RecordsFile, find_archives
from resnet_repro.records.members import is_packed
from resnet_repro.records.packed import read_packed
from resnet_repro.settings.words import at_home, name_and_folder


@dataclass(frozen=True)
class ComparedFolder:
    """A folder of results, or whatever stands for one.

    Attributes:
        name: The name that its columns have.
        files: Its files of records.
    """

    name: str
    files: tuple[RecordsFile, ...]


def find_sources(words: Sequence[str]) -> list[ComparedFolder]:
    """Return what the words of a command line name: `results`, `cluster=/scratch/results`.

    Raises:
        UserError: There are fewer than two, two are the same or have the same name, or one cannot
            be read or has no file of records.
    """
    if len(words) < 2:
        raise UserError("compare takes two or more folders of results: type compare DIR DIR")
    given, folders = zip(*map(name_and_folder, words), strict=True)
    paths = [Path(at_home(folder)) for folder in folders]
    places = [os.path.realpath(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{path} is given twice: compare it with another folder")
    unnamed = [path for name, path in zip(given, paths, strict=True) if not name]
    shortest = iter(short_names(unnamed))
    names = [name or next(shortest) for name in given]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two folders are named {name}: give one another name, NAME=DIR")
    try:
        return [ComparedFolder(name, _files(path)) for name, path in zip(names, paths, strict=True)]
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from error


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the end of each path, as many parts as tell it from the others."""
    ends = [path.parent if path.name == RECORDS_FILE else path for path in paths]
    names = []
    for number, (path, end) in enumerate(zip(paths, ends, strict=True)):
        others = [each.parts for each in (*ends[:number], *ends[number + 1 :])]
        parts = (end.parts[-length:] for length in range(1, len(end.parts) + 1))
        distinct = (each for each in parts if each not in [o[-len(each) :] for o in others])
        names.append(str(Path(*next(distinct, path.parts))))
    return names


def _files(path: Path) -> tuple[RecordsFile, ...]:
    if path.is_dir():
        return tuple(map(RecordsFile, find_archives(path)))
    if not path.is_file():
        raise UserError(f"{path}: there is no such folder or file")
    if not is_packed(path):
        return (RecordsFile(path),)
    packed = {
        PurePosixPath(str(name).lstrip("/")): each for name, each in read_packed(path).items()
    }
    found = _without_published(packed)
    if not found:
        raise UserError(f"{path}: there is no {RECORDS_FILE} in it")
    return tuple(RecordsFile(path / name, found[name]) for name in sorted(found))


def _without_published(found: dict[PurePosixPath, bytes]) -> dict[PurePosixPath, bytes]:
    """Leave out the published results inside of a folder of results, as in a folder on the disk."""
    if not found:
        return found
    top = PurePosixPath(os.path.commonpath([name.parent for name in found]))
    inside = {name: name.parts[len(top.parts) :] for name in found}
    return {name: each for name, each in found.items() if PUBLISHED not in inside[name]}
