"""Detections in COCO's format of results, for other programs."""

import logging
from pathlib import Path

import numpy as np
import torch

from resnet_repro.detection.detections import Detections
from resnet_repro.detection.scenes import Scenes
from resnet_repro.files import write_atomically

CHUNK = 100_000  # detections; of a whole set there are millions
# Nine digits are enough for any float32.
LINE = '{"image_id":%d,"category_id":%d,"bbox":[%.9g,%.9g,%.9g,%.9g],"score":%.9g}'

logger = logging.getLogger("resnet_repro")


def write_coco_results(path: Path, detections: Detections, scenes: Scenes) -> None:
    """Write detections with the numbers that COCO's annotations give photographs and classes.

    Where two photographs have the same number, as they come from two files of annotations, that is
    logged and nothing is written.

    Args:
        path: The file, JSON.
        detections: The detections.
        scenes: The test set.
    """
    if len(np.unique(scenes.ids)) < len(scenes):
        logger.warning("%s: not written: photographs of the test set share their numbers", path)
        path.unlink(missing_ok=True)
        return
    parts = [
        _lines(detections.take(torch.arange(first, min(first + CHUNK, len(detections)))), scenes)
        for first in range(0, len(detections), CHUNK)
    ]
    write_atomically(path, b"[" + b",\n".join(parts) + b"]\n")


def _lines(detections: Detections, scenes: Scenes) -> bytes:
    boxes = detections.boxes.numpy().astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    images = scenes.ids[detections.images.numpy()]
    classes = np.array(scenes.class_ids)[detections.classes.numpy()]
    columns = (images.tolist(), classes.tolist(), boxes.tolist(), detections.scores.tolist())
    rows = zip(*columns, strict=True)
    return ",\n".join(
        LINE % (image, number, *box, score) for image, number, box, score in rows
    ).encode()
