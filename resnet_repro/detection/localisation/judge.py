"""The error of localisation by the rules of ILSVRC, eval_localization_flat.m of its kit.

A guess is a class and a box. It is right if the class is the image's and the box overlaps one of
the objects of that class by at least one half (IoU). An image is right if one of its guesses is.
"""

import torch
from torch import Tensor
from torchvision.ops import box_iou

OVERLAP = 0.5
GUESSES = 5


def is_found(box: Tensor, objects: Tensor) -> bool:
    """Return whether a box (4,) overlaps one of the objects (n, 4) enough."""
    overlaps = box_iou(box[None].double(), objects.double())
    return bool((overlaps >= OVERLAP).any())


def is_right(guesses: Tensor, boxes: Tensor, label: int, objects: Tensor) -> bool:
    """Return whether one of the first five guesses for an image is right.

    Args:
        guesses: (k,), their classes, best first.
        boxes: (k, 4), their boxes.
        label: The image's class.
        objects: (n, 4), its objects, all of this class.
    """
    at = (guesses[:GUESSES] == label).nonzero().flatten().tolist()
    return any(is_found(boxes[position], objects) for position in at)


def top_classes(probabilities: Tensor) -> Tensor:
    """Return the classes of the five guesses, best first: (classes,) -> (5,) or fewer."""
    return torch.topk(probabilities, min(GUESSES, len(probabilities))).indices
