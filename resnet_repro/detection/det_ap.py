"""Average precision by the rules of ILSVRC's detection task, eval_detection.m of its kit.

Detections of a class by falling score: each finds the object of its class in its photograph, among
those that none has found yet, that it overlaps most and at least by the object's own limit: 0.5, or
less if the object is small. One that finds none is wrong. Where the class is not judged in a
photograph, its detections there are neither right nor wrong. Average precision is the area under
the curve, as in VOC 2010.
"""

import numpy as np
import torch
from torchvision.ops import box_iou

from resnet_repro.detection.detections import Detections
from resnet_repro.detection.scenes import Scenes
from resnet_repro.detection.voc_ap import Curve

LIMIT, SLACK = 0.5, 10  # IoU; pixels of tolerance in width and height


def limits(boxes: np.ndarray) -> np.ndarray:
    """Return the IoU from which on objects (n, 4) are found: (n,)."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).T
    own: np.ndarray = width * height / ((width + SLACK) * (height + SLACK))
    return own.clip(max=LIMIT)


def det_curve(detections: Detections, scenes: Scenes, label: int) -> Curve:
    """Compare the detections of a class with its objects.

    Args:
        detections: Those of all classes, sorted.
        scenes: The test set.
        label: The class.
    """
    of_class = scenes.classes == label
    owners, ignored = scenes.owners[of_class], scenes.ignored[of_class]
    unjudged = np.unique(owners[ignored])
    owners, objects = owners[~ignored], scenes.boxes[of_class][~ignored]
    found = detections.take(detections.classes == label)
    images, boxes = found.images.numpy(), found.boxes.double()
    judged = ~np.isin(images, unjudged)
    images, boxes = images[judged], boxes[torch.from_numpy(judged)]
    is_right = np.zeros(len(images), dtype=bool)
    by_image: dict[int, list[int]] = {}
    for position, image in enumerate(images.tolist()):
        by_image.setdefault(image, []).append(position)
    for image, positions in by_image.items():
        own = slice(*np.searchsorted(owners, [image, image + 1]))
        here = objects[own]
        if len(here):
            overlaps = box_iou(boxes[positions], torch.from_numpy(here).double()).numpy()
            is_right[positions] = _matched(overlaps, limits(here))
    right = np.cumsum(is_right)
    return Curve(right, right / np.arange(1, len(right) + 1), len(objects))


def _matched(overlaps: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Return which detections find an object; overlaps (m, n) by falling score, limits (n,)."""
    free, found = np.ones(len(least), dtype=bool), np.zeros(len(overlaps), dtype=bool)
    for position, overlap in enumerate(overlaps):
        possible = free & (overlap >= least)
        if possible.any():
            free[np.where(possible, overlap, -1).argmax()] = False
            found[position] = True
    return found
