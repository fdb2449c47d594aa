"""Boxes: as offsets from anchors, within an image, and averaged by vote; sizes of resized images.

A box is x1, y1, x2, y2 in pixels, from 0, with an exclusive end: its width is x2 - x1. The formulas
of Fast R-CNN's code, which counts pixels inclusively and adds 1 to each difference, are the plain
ones here, to the last digit.

Boxes are float32, and there may be none: (0, 4).

[He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
[Ren15]  Faster R-CNN, arXiv:1506.01497
"""

from math import log

import torch
from torch import Tensor
from torchvision.ops import box_iou

# The standard deviations by which the offsets of regions are divided, in py-faster-rcnn's joint
# training; those of proposals are not divided.
REGION_STD = (0.1, 0.1, 0.2, 0.2)
LARGEST_GROWTH = log(1000 / 16)  # of the logarithm of a size: torchvision's and Detectron's


def encode(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return boxes as offsets from anchors: [Ren15] Eq. 2.

    Args:
        anchors: (..., 4); none has a width or height of 0.
        boxes: (..., 4), broadcast with the anchors.

    Returns:
        (..., 4): the shift of the centre, in the anchor's width and height, and the logarithms of
        the growth of width and height.
    """
    x, y, width, height = _centred(anchors)
    box_x, box_y, box_width, box_height = _centred(boxes)
    shift = (box_x - x) / width, (box_y - y) / height
    growth = (box_width / width).log(), (box_height / height).log()
    return torch.stack((*shift, *growth), dim=-1)


def decode(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Return the boxes that are at given offsets from anchors: the inverse of `encode`.

    A box is at most 62.5 times as wide or as high as its anchor, so that none is infinite.

    Args:
        anchors: (..., 4).
        deltas: (..., 4), broadcast with the anchors: (R, 1, 4) and (R, K, 4) give (R, K, 4).
    """
    x, y, width, height = _centred(anchors)
    dx, dy, *growth = deltas.unbind(-1)
    half_width, half_height = (
        size * grown.clamp(max=LARGEST_GROWTH).exp() / 2
        for size, grown in zip((width, height), growth, strict=True)
    )
    x, y = x + dx * width, y + dy * height
    ends = x - half_width, y - half_height, x + half_width, y + half_height
    return torch.stack(ends, dim=-1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the centres, widths and heights of boxes."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    width, height = x2 - x1, y2 - y1
    return x1 + width / 2, y1 + height / 2, width, height


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return the parts of boxes (..., 4) that are within an image; of those outside, an edge."""
    most = boxes.new_tensor((width, height, width, height))
    return boxes.clamp(min=0).minimum(most)


def vote(kept: Tensor, boxes: Tensor, scores: Tensor) -> Tensor:
    """Return boxes of a class in the places that all its boxes vote for: [He15] App. B.

    The place is the mean of the boxes that overlap the kept one with an IoU of at least 0.5,
    weighted by their scores. A box without votes stays where it is.

    Args:
        kept: (k, 4), those that non-maximum suppression kept.
        boxes: (n, 4), those before it, with the kept.
        scores: (n,).
    """
    weights = ((box_iou(kept, boxes) >= 0.5) * scores)[..., None]
    total = weights.sum(dim=1)
    # Not a matrix product, which tf32 or autocast would round to a fraction of a pixel.
    return torch.where(total > 0, (weights * boxes).sum(dim=1) / total, kept)


def resized(height: int, width: int, shorter: int, longest: int) -> tuple[int, int, float]:
    """Return the size that a photograph is resized to, and the factor that boxes are multiplied by.

    As in py-faster-rcnn: the shorter side is `shorter` unless that makes the other, rounded, more
    than `longest`, which it is then; both are rounded.

    Args:
        height: Pixels of the photograph.
        width: Likewise.
        shorter: Wanted length of the shorter side, pixels.
        longest: Largest length of the longer one, pixels.
    """
    scale = shorter / min(height, width)
    if round(scale * max(height, width)) > longest:
        scale = longest / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width)), scale
