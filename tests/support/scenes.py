"""Photographs with labelled boxes, and detections of them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_repro.detection.detections import Detections
from resnet_repro.detection.scenes import Scenes
from resnet_repro.settings.data import BoxesConfig, DataConfig
from tests.support.paths import DATA


def real(name):
    """Return a folder of real photographs with boxes, or of real scores."""
    if not (DATA / "detection" / name).is_dir():
        pytest.skip(f"no detection/{name} in {DATA}; RESNET_REPRO_DATA says where it is")
    return DATA / "detection" / name


def boxes_config(root, train=("train",), test=("test",), *, kind="voc", num_classes=2, **fields):
    return DataConfig(
        name=kind,
        title="cells",
        root=str(root),
        image_size=64,
        num_classes=num_classes,
        boxes=BoxesConfig(train=list(train), test=list(test)),
        **fields,
    )


def photograph(width=40, height=30, mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "JPEG", **options)
    return file.getvalue()


def xml_object(name, *corners, extra=""):
    names = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{n}>{c}</{n}>" for n, c in zip(names, corners, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


def annotation(*objects, width=40, height=30):
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def write_voc(root: Path, lists, annotations, photographs=None):
    """Write a set in PASCAL VOC's format.

    Args:
        root: Its folder.
        lists: Names by set.
        annotations: The content of the annotation by name.
        photographs: The content of some photographs by file name; the others are 40 x 30 pixels.
    """
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, names in lists.items():
        (root / f"ImageSets/Main/{name}.txt").write_text("".join(f"{n}\n" for n in names))
    for name, text in annotations.items():
        (root / f"Annotations/{name}.xml").write_text(text)
        if not any(Path(file).stem == name for file in photographs or {}):
            (root / f"JPEGImages/{name}.jpg").write_bytes(photograph())
    for file, content in (photographs or {}).items():
        (root / "JPEGImages" / file).write_bytes(content)


CAT, DOG = xml_object("cat", 11, 11, 20, 20), xml_object("dog", 1, 1, 40, 30)


def write_two(root):
    """Write the smallest set: one photograph to train and one to test on."""
    lists = {"train": ["a"], "test": ["b"]}
    write_voc(root, lists, {"a": annotation(CAT, DOG), "b": annotation(CAT)})


def coco_json(**changes):
    """Return annotations of three photographs 40 x 30, of which the last has no object."""
    images = [
        {"id": number, "file_name": f"{number:03}.jpg", "width": 40, "height": 30}
        for number in (7, 3, 12)
    ]
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 5, "iscrowd": 0},
        {"id": 2, "image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 60, "iscrowd": 1},
    ]
    categories = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    return whole | changes


def write_coco(root: Path, **changes):
    """Write the sets `train` and `test`, which are the same but for what is changed in `train`."""
    for name, content in (("train", coco_json(**changes)), ("test", coco_json())):
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / name).mkdir(exist_ok=True)
        (root / f"annotations/instances_{name}.json").write_text(json.dumps(content))
        for number in (7, 3, 12):
            (root / name / f"{number:03}.jpg").write_bytes(photograph())


def scenes_of(photographs, class_names=("object",)) -> Scenes:
    """Make scenes of 1000 x 1000 pixels from a list of (box, class, ignored) for each of them."""
    flat = [each for objects in photographs for each in objects]
    boxes = np.array([box for box, _, _ in flat], dtype=np.float32).reshape(-1, 4)
    number = len(photographs)
    return Scenes(
        folders=(Path(),),
        in_folder=np.zeros(number, dtype=np.int16),
        files=np.array([b"x.jpg"] * number),
        names=np.array([b"x"] * number),
        ids=np.arange(number),
        sizes=np.full((number, 2), 1000, dtype=np.int32),
        offsets=np.cumsum([0, *map(len, photographs)]),
        boxes=boxes,
        classes=np.array([label for _, label, _ in flat], dtype=np.int64),
        ignored=np.array([ignored for _, _, ignored in flat], dtype=bool),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        class_names=tuple(class_names),
        class_ids=tuple(range(len(class_names))),
        exhaustive=(True,),
    )


def detections_of(found) -> Detections:
    """Make detections from (position, box, score, class)."""
    images, boxes, scores, classes = zip(*found, strict=True) if found else ((), (), (), ())
    return Detections(
        torch.tensor(images, dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(classes, dtype=torch.int64),
    )
