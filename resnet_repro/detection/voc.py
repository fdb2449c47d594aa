"""Photographs with boxes in the format of PASCAL VOC.

    ROOT/FOLDER/ImageSets/Main/SET.txt       a name per line
    ROOT/FOLDER/Annotations/NAME.xml         its objects
    ROOT/FOLDER/JPEGImages/NAME.jpg          the photograph

PASCAL VOC's folders are VOC2007 and VOC2012, in ROOT or in ROOT/VOCdevkit. Its pixels count from 1,
and xmax and ymax belong to the box. Difficult objects are ignored.
"""

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from resnet_repro.data.class_folders import image_names
from resnet_repro.detection import voc_xml
from resnet_repro.detection.annotated import (
    AnnotatedSet,
    Objects,
    check,
    photograph_sizes,
    repeated,
    size_note,
)
from resnet_repro.detection.fetch_voc import ARCHIVES, DEVKIT, LISTS, fetch
from resnet_repro.detection.scene_cache import cached, fingerprint
from resnet_repro.errors import UserError, nearest
from resnet_repro.settings.data import DataConfig
from resnet_repro.text import few

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


def read_set(config: DataConfig, name: str) -> tuple[Path, AnnotatedSet]:
    """Read a set; download PASCAL VOC's if it is missing.

    Args:
        config: The settings of the data.
        name: `FOLDER/SET`, or `SET` if the data's root is the folder.

    Returns:
        The folder of its photographs, and the set.

    Raises:
        UserError: Files are missing, damaged or not in this format.
    """
    folder, listed = _locate(config, name)
    names = names_in(listed)
    photographs = photographs_of(folder / "JPEGImages", listed, names)
    annotations = [folder / "Annotations" / f"{each}.xml" for each in names]
    missing = [f"{path.name}" for path in annotations if not path.is_file()]
    if missing:
        raise UserError(
            f"{listed} names photographs without annotations: {folder / 'Annotations'} has no "
            f"{few(missing)}\nComplete the folder, or take the names out of the list."
        )
    content = [
        "\n".join(names).encode(errors="surrogateescape"),
        fingerprint(folder / "Annotations", [f"{each}.xml" for each in names]),
        fingerprint(folder / "JPEGImages", photographs),
    ]
    where = folder / "JPEGImages"
    made = cached(content, str(listed), lambda: annotated(where, names, photographs, annotations))
    return where, made


def classes(config: DataConfig, sets: dict[str, AnnotatedSet]) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of the classes and their numbers.

    They are PASCAL VOC's twenty if the sets are its own, or have none but these and
    `data.num_classes` is 20; else the sorted names in all sets together.

    Raises:
        UserError: One is unknown, or they are not `data.num_classes`.
    """
    places = class_places(sets)
    found = tuple(sorted(places))
    unknown = [each for each in found if each not in CLASSES]
    if config.num_classes == len(CLASSES):
        if not unknown:
            return CLASSES, list(range(len(CLASSES)))
        if all(name in ARCHIVES for name in sets):
            raise UserError(
                f"{places[unknown[0]]}: {unknown[0]!r} is no class of PASCAL VOC"
                f"{nearest(unknown[0], CLASSES)}\nIf the photographs are your own, give their "
                f"folder another name than VOC2007 or VOC2012."
            )
    return found_classes(config, places)


def class_places(sets: dict[str, AnnotatedSet]) -> dict[str, str]:
    """Return the classes that sets have, each with a place where it is found, for messages."""
    return {
        each: f"{name}: Annotations/{place}"
        for name, made in reversed(sets.items())
        for each, place in zip(made.class_names, made.class_places, strict=True)
    }


def found_classes(config: DataConfig, found: Collection[str]) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of classes, sorted, and their numbers.

    Raises:
        UserError: They are not `data.num_classes`.
    """
    if len(found) != config.num_classes:
        raise UserError(
            f"{config.title} has {len(found)} classes: {few(sorted(found))}\nCorrect misspelt "
            f"ones, or set data.num_classes={len(found)}."
        )
    return tuple(sorted(found)), list(range(len(found)))


def _locate(config: DataConfig, name: str) -> tuple[Path, Path]:
    """Return the folder of a set and the file with its list."""
    root = Path(config.root)
    folder, _, last = name.rpartition("/")
    places = [root / folder, root / DEVKIT / folder] if folder else [root]
    list_file = f"{LISTS}/{last}.txt"
    for place in places:
        if (place / list_file).is_file():
            return place, place / list_file
    if folder and folder == root.name and (root / list_file).is_file():
        raise UserError(f"data.root={root} is one level too deep: set data.root={root.parent}")
    looked = " nor ".join(str(place / list_file) for place in places)
    if name in ARCHIVES and config.num_classes == len(CLASSES):
        fetch(root, name, looked, download=config.download)
        return places[1], places[1] / list_file
    lists = {path.stem for place in places for path in (place / LISTS).glob("*.txt")}
    hint = nearest(last, sorted(lists)) if lists else ""
    raise UserError(
        f"data.boxes: there is no set {name}: no file {looked}{hint}\n"
        + (
            "The labels of VOC2012/test are not public: test on VOC2012/val."
            if re.fullmatch(r"VOC20(0[89]|1\d)/test", name)
            else "Set data.root=ROOT, with ROOT/FOLDER/ImageSets/Main/SET.txt for a set FOLDER/SET."
        )
    )


def names_in(listed: Path, *, first_word: bool = False) -> list[str]:
    """Return the names in a list, a line each, or the first word of each line.

    Raises:
        UserError: The list cannot be read, is empty, or has a name twice.
    """
    try:
        lines = listed.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{listed} cannot be read: {error}") from error
    names = [line.split()[0] if first_word else line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"{listed} is empty: it must have the name of a photograph per line")
    if len(set(names)) < len(names):
        raise UserError(
            f"{listed} has names twice: {few(repeated(names))}\nTake out the second of each."
        )
    return names


def photographs_of(folder: Path, listed: Path, names: list[str]) -> list[str]:
    """Return the file of each photograph, relative to the folder.

    Raises:
        UserError: One is missing, or there are two of a name.
    """
    files: dict[str, str] = {}
    wanted = set(names)
    for file in image_names(folder):
        name = file.rpartition(".")[0]
        if name in wanted and files.setdefault(name, file) != file:
            raise UserError(f"{folder} has both {files[name]} and {file}: remove one of them")
    missing = [name for name in names if name not in files]
    if missing:
        raise UserError(
            f"{listed} names photographs that {folder} does not have: {few(missing)}\n"
            f"Complete the folder, or take the names out of the list."
        )
    return [files[name] for name in names]


def annotated(
    folder: Path,
    names: list[str],
    photographs: list[str],
    annotations: list[Path],
    *,
    scaled: bool = False,
) -> AnnotatedSet:
    """Read the objects of photographs.

    Args:
        folder: The photographs' folder.
        names: Their names.
        photographs: Their files, relative to the folder.
        annotations: The file with the objects of each.
        scaled: Whether boxes are in a photograph of the size that its annotation says, and are
            scaled to that of the file.

    Raises:
        UserError: A file of objects is damaged or not in this format.
    """
    sizes, unreadable = photograph_sizes(folder, photographs)
    objects, class_names, said = Objects(), [], []
    found: dict[str, str] = {}
    for position, path in enumerate(annotations):
        root = voc_xml.parse(path)
        said.append((voc_xml.pixels(root, "height"), voc_xml.pixels(root, "width")))
        across = down = 1.0
        if scaled and min(*said[-1], *sizes[position]) > 0:
            own = sizes[position].tolist()
            down, across = own[0] / said[-1][0], own[1] / said[-1][1]
        for place, name, ignored, box in voc_xml.objects(root, path):
            found.setdefault(name, place)
            class_names.append(name)
            objects.photographs.append(position)
            x1, y1, x2, y2 = box[0] - 1, box[1] - 1, box[2], box[3]
            objects.boxes.append((x1 * across, y1 * down, x2 * across, y2 * down))
            objects.ignored.append(ignored)
            objects.areas.append(float("nan"))
            objects.places.append(f"{place} ({name})")
    known = sorted(found)
    index = {name: i for i, name in enumerate(known)}
    objects.classes = [index[name] for name in class_names]
    # A box with xmin = xmax is what a click without a drag makes: it is not one pixel wide.
    checked = check(objects, sizes, least=1, slack=0)
    note = size_note(names, said, sizes, "its boxes are scaled" if scaled else "its own is used")
    return AnnotatedSet(
        names=tuple(names),
        files=tuple(photographs),
        ids=np.arange(len(names)),
        sizes=sizes,
        offsets=checked.offsets,
        boxes=checked.boxes,
        classes=checked.classes,
        ignored=checked.ignored,
        areas=checked.areas,
        class_names=tuple(known),
        class_ids=tuple(range(len(known))),
        class_places=tuple(found[name] for name in known),
        notes=(*checked.notes, *([note] if note else [])),
        unreadable=unreadable,
    )
