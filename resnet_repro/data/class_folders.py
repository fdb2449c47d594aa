"""Images in class folders, `CLASS/*.jpg`: which folders are classes, and which files images."""

import logging
import os
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.text import few

logger = logging.getLogger("resnet_repro")

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
# Created by file managers, network disks and file systems; so are names that start with a dot.
SYSTEM = {
    "__macosx",
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "lost+found",
    "system volume information",
}


def class_names(folder: Path) -> list[str]:
    """Return the sorted names of a folder's subfolders, except hidden and system folders."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    left_out = [name for name in names if _is_hidden(name)]
    if left_out:
        logger.info("%s: skipped, not classes: %s", folder, ", ".join(left_out))
    return [name for name in names if not _is_hidden(name)]


def image_names(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """Return all images below a folder, or other files, as sorted paths relative to it."""
    found = []
    for here, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if not _is_hidden(name)]  # os.walk enters these
        below = "" if here == str(folder) else os.path.relpath(here, folder) + "/"
        found.append((below, sorted(name for name in files if _has(name, suffixes))))
    return [below + name for below, files in sorted(found) for name in files]


def labelled(folder: Path, classes: list[str]) -> tuple[list[str], list[int]]:
    """Return the images of all classes, as paths relative to the folder, and their labels.

    Raises:
        UserError: A class has no images.
    """
    names, labels, empty = [], [], []
    for label, name in enumerate(classes):
        here = [f"{name}/{image}" for image in image_names(folder / name)]
        if not here:
            empty.append(name)
        names += here
        labels += [label] * len(here)
    if empty:
        raise UserError(
            f"{folder}: no images ({' '.join(SUFFIXES)}) in {few(empty)}\nEach class needs "
            f"images; add some, or delete the empty folder."
        )
    return names, labels


def require_same(train: Path, test: Path) -> list[str]:
    """Return the classes, which must be the same for training and test images.

    Raises:
        UserError: They differ, or a folder has no classes.
    """
    both = {folder: class_names(folder) for folder in (train, test)}
    for folder, classes in both.items():
        if not classes:
            raise UserError(f"{folder} has no class folders: put images into {folder}/CLASS/")
    odd = [
        f"{name} (only in {here.name})"
        for here, other in ((train, test), (test, train))
        for name in both[here]
        if name not in both[other]
    ]
    if odd:
        raise UserError(
            f"{train} and {test} differ in classes: {few(odd)}\nEach class needs a folder in both."
        )
    return both[train]


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def _has(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM
