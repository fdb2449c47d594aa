"""Photographs with boxes in the format of COCO.

    ROOT/annotations/instances_train2017.json     all objects of the set `train2017`
    ROOT/train2017/000000000009.jpg               its photographs; or in ROOT/images/train2017

ROOT is `data.root`, or the folder `coco` in it. `FILE.json:FOLDER` names a set of other files.
Boxes are x, y, width, height; x and y count from 0. Crowds are ignored.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from resnet_repro.data.class_folders import image_names
from resnet_repro.detection.annotated import (
    AnnotatedSet,
    Objects,
    check,
    number,
    photograph_sizes,
    repeated,
    size_note,
)
from resnet_repro.detection.scene_cache import cached, fingerprint
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig
from resnet_repro.text import few

SITE = "http://images.cocodataset.org"
LARGEST_ID = 2**63
PARTS = {  # what must be there for each entry of a list, and of which type
    "images": {"id": int, "file_name": str},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": int, "category_id": int, "bbox": list},
}


def read_set(config: DataConfig, name: str) -> tuple[Path, AnnotatedSet]:
    """Read a set.

    Args:
        config: The settings of the data.
        name: The name of its photographs' folder, or `FILE.json:FOLDER`.

    Returns:
        The folder of its photographs, and the set.

    Raises:
        UserError: Files are missing, damaged or not in this format.
    """
    path, folder = _locate(config, name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    files = image_names(folder)
    known = fingerprint(folder, files)
    made = cached([content, known], str(path), lambda: _read(path, content, folder, files))
    return folder, made


def classes(config: DataConfig, sets: dict[str, AnnotatedSet]) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of the classes in the order of their numbers, and these.

    Raises:
        UserError: The sets differ in them, or they are not `data.num_classes`.
    """
    (first, made), *others = sets.items()
    for name, other in others:
        odd = set(zip(other.class_ids, other.class_names, strict=True)) ^ set(
            zip(made.class_ids, made.class_names, strict=True)
        )
        if odd:
            names = [f"{number} {each}" for number, each in sorted(odd)]
            raise UserError(
                f"data.boxes: {first} and {name} differ in categories: {few(names)}\n"
                f"All sets must have the same ones, with the same ids."
            )
    found = len(made.class_names)
    if found != config.num_classes:
        raise UserError(f"{config.title} has {found} classes: set data.num_classes={found}")
    return made.class_names, list(made.class_ids)


def _locate(config: DataConfig, name: str) -> tuple[Path, Path]:
    """Return the file of annotations and the folder of photographs."""
    root = Path(config.root)
    file, colon, folder = name.rpartition(".json:")
    annotations = f"{file}.json" if colon else f"annotations/instances_{name}.json"
    tried = [(base / annotations, base / folder) for base in (root, root / "coco")]
    if not colon:
        tried += [(path, path.parents[1] / "images" / name) for path, _ in tried]
    for path, photographs in tried:
        if path.is_file() and photographs.is_dir():
            return path, photographs
    path = next((path for path, _ in tried if path.is_file()), tried[0][0])
    missing = tried[0][1] if path.is_file() else path
    year = name[-4:]
    where = (
        "Set data.root=ROOT, with ROOT/FILE.json and ROOT/FOLDER for a set FILE.json:FOLDER."
        if colon
        else f"It is not downloaded: unpack {SITE}/zips/{name}.zip and {SITE}/annotations/"
        f"annotations_trainval{year}.zip in ROOT, and set data.root=ROOT."
    )
    raise UserError(f"{config.title}: there is no {missing}\n{where}")


def _read(path: Path, content: bytes, folder: Path, files: list[str]) -> AnnotatedSet:
    images, categories, annotations = _parse(path, content)
    images.sort(key=lambda each: each["id"])
    categories.sort(key=lambda each: each["id"])
    names = [each["file_name"] for each in images]
    ids = _index(path, "images", [each["id"] for each in images])
    numbers = _index(path, "categories", [each["id"] for each in categories])
    _index(path, "images", names, "file_name")
    _index(path, "categories", [each["name"] for each in categories], "name")
    there = set(files)
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(
            f"{path} names photographs that {folder} does not have: {few(missing)}\n"
            f"Complete the folder."
        )
    sizes, unreadable = photograph_sizes(folder, names)
    objects = Objects()
    for each in annotations:
        for key, known in (("image_id", ids), ("category_id", numbers)):
            if each[key] not in known:
                raise UserError(
                    f"{path}: annotation {each.get('id', '?')} has {key} {each[key]}, which is "
                    f"none of the file's {'images' if known is ids else 'categories'}"
                )
    annotations.sort(key=lambda each: ids[each["image_id"]])  # stable
    for each in annotations:
        x, y, width, height = map(number, [*each["bbox"], *4 * [None]][:4])
        objects.photographs.append(ids[each["image_id"]])
        objects.boxes.append((x, y, x + width, y + height))
        objects.classes.append(numbers[each["category_id"]])
        objects.ignored.append(number(each.get("iscrowd")) == 1)
        objects.areas.append(number(each.get("area")))
        objects.places.append(f"annotation {each.get('id', '?')}")
    # Boxes at the border reach over it by fractions of a pixel, as their decimals are rounded.
    checked = check(objects, sizes, least=0, slack=1)
    said = [(_pixels(each.get("height")), _pixels(each.get("width"))) for each in images]
    note = size_note(names, said, sizes, "its own is used")
    return AnnotatedSet(
        names=tuple(names),
        files=tuple(names),
        ids=np.array(list(ids), dtype=np.int64),
        sizes=sizes,
        offsets=checked.offsets,
        boxes=checked.boxes,
        classes=checked.classes,
        ignored=checked.ignored,
        areas=checked.areas,
        class_names=tuple(each["name"] for each in categories),
        class_ids=tuple(numbers),
        class_places=(path.name,) * len(categories),
        notes=(*checked.notes, *([note] if note else [])),
        unreadable=unreadable,
    )


def _parse(path: Path, content: bytes) -> list[list[dict[str, Any]]]:
    """Return the lists of images, categories and annotations."""
    try:
        read = json.loads(content, object_hook=_without_outline)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged, it is not JSON: {error}") from error
    found = []
    for part, keys in PARTS.items():
        entries = read.get(part) if isinstance(read, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{path} is not in COCO's format: it has no list {part!r}")
        if not entries and part != "annotations":
            raise UserError(f"{path} has no {part}")
        for position, entry in enumerate(entries):
            for key, kind in keys.items():
                if not isinstance(entry, dict) or type(entry.get(key)) is not kind:
                    raise UserError(f"{path}: {part}[{position}] has no {key} ({kind.__name__})")
                if kind is int and abs(entry[key]) >= LARGEST_ID:
                    raise UserError(
                        f"{path}: {part}[{position}] has {key} {entry[key]}, which is too large"
                    )
        found.append(entries)
    return found


def _without_outline(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop an object's outline, which is most of the file, as soon as it is read."""
    entry.pop("segmentation", None)
    return entry


def _index(path: Path, part: str, values: list[Any], key: str = "id") -> dict[Any, int]:
    """Return the position of each value, which must be unique."""
    index = {value: i for i, value in enumerate(values)}
    if len(index) < len(values):
        twice = few(repeated(map(str, values)))
        raise UserError(f"{path}: several {part} have the same {key}: {twice}")
    return index


def _pixels(value: Any) -> int:  # noqa: ANN401
    pixels = number(value)
    return int(pixels) if 0 < pixels < 2**31 else 0
