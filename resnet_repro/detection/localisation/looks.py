"""How localisation looks at a photograph: at one crop, or at all of it at several sizes.

Boxes (n, 4) are x1 y1 x2 y2.
"""

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data.photos import View, draw_view, resize_shorter, take_view
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig


@dataclass(frozen=True)
class Look:
    """A photograph, resized, or a part of that.

    Attributes:
        pixels: (3, h, w), uint8.
        left: Place of the part in the resized photograph, pixels.
        top: Likewise.
        across: Pixels of the resized photograph per pixel of the photograph, horizontally.
        down: Likewise, vertically.
    """

    pixels: Tensor
    left: int
    top: int
    across: float
    down: float

    def to_photograph(self, boxes: Tensor) -> Tensor:
        """Return boxes (..., 4) of the look in pixels of the photograph."""
        shift = boxes.new_tensor([self.left, self.top] * 2)
        return (boxes + shift) / boxes.new_tensor([self.across, self.down] * 2)


def looks_at(photograph: Tensor, test: EvaluationConfig) -> list[Look]:
    """Return the looks at a photograph (3, H, W) uint8: the centre crop, or all sizes of a test."""
    looks = []
    for size in test.sizes:
        resized = resize_shorter(photograph, size, test.interpolation)
        height, width = resized.shape[1:]
        left = top = 0
        across, down = width / photograph.shape[2], height / photograph.shape[1]
        if test.protocol == "one_crop":
            top, left = round((height - test.crop) / 2), round((width - test.crop) / 2)
            resized = resized[:, top : top + test.crop, left : left + test.crop]
        looks.append(Look(resized, left, top, across, down))
    return looks


def random_crop(
    photograph: Tensor,
    boxes: Tensor,
    photo: PhotoConfig,
    size: int,
    seed: int,
    *,
    mirrored: bool,
) -> tuple[Tensor, Tensor]:
    """Return a training crop and the objects in it.

    Args:
        photograph: (3, H, W), uint8.
        boxes: (n, 4), its objects.
        photo: The kind of crop.
        size: Height and width of the crop.
        seed: Of the random choice.
        mirrored: Whether to mirror it.

    Returns:
        (3, size, size) uint8, and the boxes (m, 4) that overlap it, in its pixels. They may reach
        beyond it: the network learns where an object is that sticks out.
    """
    height, width = photograph.shape[1:]
    view = draw_view(height, width, photo, size, False, random.Random(seed))
    view = view._replace(mirrored=int(mirrored))
    return take_view(photograph, view, size, photo.interpolation), boxes_in(boxes, view, size)


def boxes_in(boxes: Tensor, view: View, size: int) -> Tensor:
    """Return the boxes (n, 4) of a photograph that overlap a view of it, in its pixels: (m, 4)."""
    across, down = view.across / view.width, view.down / view.height
    start = boxes.new_tensor([view.left, view.top] * 2)
    moved = (boxes - start) * boxes.new_tensor([across, down] * 2)
    moved = moved - moved.new_tensor([view.x, view.y] * 2)
    if view.mirrored:
        x1, y1, x2, y2 = moved.unbind(1)
        moved = torch.stack([size - x2, y1, size - x1, y2], dim=1)
    inside = moved.clamp(0, size)
    return moved[(inside[:, 2:] > inside[:, :2]).all(dim=1)]


def warped(photograph: Tensor, regions: Tensor, size: int) -> Tensor:
    """Return regions (n, 4) of a photograph (3, H, W) uint8, warped: (n, 3, size, size), uint8.

    A region is rounded to whole pixels, at least one in each direction.
    """
    height, width = photograph.shape[1:]
    corners = regions.round().to(torch.int64)
    left, top = corners[:, 0].clamp(0, width - 1), corners[:, 1].clamp(0, height - 1)
    right = corners[:, 2].clamp(max=width).maximum(left + 1)
    bottom = corners[:, 3].clamp(max=height).maximum(top + 1)
    found = [
        tv.resize(photograph[:, y1:y2, x1:x2], [size, size], antialias=True)
        for x1, y1, x2, y2 in torch.stack([left, top, right, bottom], dim=1).tolist()
    ]
    return torch.stack(found) if found else photograph.new_zeros(0, 3, size, size)
