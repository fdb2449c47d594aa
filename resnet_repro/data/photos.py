"""Photographs as files, and the views of them for training and tests, in uint8.

TorchCodec decodes JPEG and torchvision resizes uint8 faster than Pillow, with results within a
fiftieth of a grey level of Pillow's; `scripts/benchmark_photos` measures both.

    [He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

import hashlib
import math
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data.decode import read_image
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig

TRIES = 10  # to find a random crop that fits, as in fb.resnet.torch and torchvision


@dataclass(frozen=True)
class Photos:
    """Labelled photographs.

    Attributes:
        root: The folder of the photographs.
        names: (N,), the paths relative to it, as bytes in one array: a million Python strings would
            be copied into every worker process, as their reference counts change.
        labels: (N,), int64.
    """

    root: Path
    names: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: Tensor) -> "Photos":
        return Photos(self.root, self.names[which.numpy()], self.labels[which.numpy()])

    def path(self, index: int) -> Path:
        """Return a photograph's file."""
        return self.root / os.fsdecode(bytes(self.names[index]))

    def add_to(self, digest: "hashlib._Hash") -> None:
        """Add names and labels to a checksum; the pixels would take hours."""
        digest.update(b"\n".join(self.names.tolist()))
        digest.update(self.labels.tobytes())


def read(photos: Photos, index: int) -> Tensor:
    """Return a photograph, (3, H, W) uint8.

    Raises:
        UnreadableImage: The file is missing, damaged or not an image.
    """
    return read_image(photos.path(index))


def resize_shorter(image: Tensor, size: int, interpolation: str = "bilinear") -> Tensor:
    """Resize an image so that its shorter side has `size` pixels, antialiased."""
    return tv.resize(  # type: ignore[no-any-return]
        image, [size], v2.InterpolationMode(interpolation), antialias=True
    )


class View(NamedTuple):
    """A training view: a box of the photograph, resized, and a part of that, mirrored or not.

    Attributes:
        top, left, height, width: The box, in pixels of the photograph.
        down, across: The height and the width to which the box is resized.
        y, x: The top and the left of the part.
        mirrored: Whether the part is mirrored.
    """

    top: int
    left: int
    height: int
    width: int
    down: int
    across: int
    y: int
    x: int
    mirrored: int


def draw_view(
    height: int, width: int, photo: PhotoConfig, size: int, flip: bool, draw: random.Random
) -> View:
    """Draw a training view; no pixels are needed for that.

    With `photo.scale` the whole image is resized, then cropped ([He15] Sec. 3.4). With `photo.area`
    a crop of random area and shape is resized, as in torchvision's RandomResizedCrop. With neither
    it is the centre crop.

    Args:
        height: The photograph's height.
        width: The photograph's width.
        photo: The kind of view.
        size: Height and width of the view.
        flip: Whether to mirror half of the views.
        draw: The source of randomness.
    """
    box, down, across, y, x = (0, 0, height, width), size, size, 0, 0
    if photo.scale is not None:
        down, across = _resized(height, width, draw.randint(*photo.scale))
        y, x = draw.randint(0, down - size), draw.randint(0, across - size)
    elif photo.area is not None:
        box = random_box(height, width, photo, draw)
    else:
        down, across = _resized(height, width, size)
        y, x = round((down - size) / 2), round((across - size) / 2)
    return View(*box, down, across, y, x, int(flip and draw.random() < 0.5))


def take_view(image: Tensor, view: View, size: int, interpolation: str) -> Tensor:
    """Take a view of an image, (3, H, W) uint8 on any device; return (3, size, size), uint8."""
    box = image[:, view.top : view.top + view.height, view.left : view.left + view.width]
    if image.device.type == "cpu":
        box = box.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # a third faster to resize
    mode = v2.InterpolationMode(interpolation)
    resized = tv.resize(box, [view.down, view.across], mode, antialias=True)
    part: Tensor = resized[:, view.y : view.y + size, view.x : view.x + size]
    return part.flip(-1) if view.mirrored else part


def random_view(
    image: Tensor, photo: PhotoConfig, size: int, flip: bool, draw: random.Random
) -> Tensor:
    """Draw a view as `draw_view` does, and take it of an image, (3, H, W) uint8."""
    view = draw_view(image.shape[1], image.shape[2], photo, size, flip, draw)
    return take_view(image, view, size, photo.interpolation)


def _resized(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Return height and width once the shorter side has a size, rounded as torchvision does."""
    if height < width:
        return shorter, int(shorter * width / height)
    return int(shorter * height / width), shorter


def random_box(
    height: int, width: int, photo: PhotoConfig, draw: random.Random
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a crop of a random area and shape."""
    assert photo.area is not None
    low, high = photo.aspect
    for _ in range(TRIES):
        area = height * width * draw.uniform(*photo.area)
        aspect = math.exp(draw.uniform(math.log(low), math.log(high)))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            return draw.randint(0, height - down), draw.randint(0, width - across), down, across
    # None fits: the largest centre crop whose shape is allowed.
    aspect = min(max(width / height, low), high)
    across = min(width, round(height * aspect))
    down = min(height, round(width / aspect))
    return (height - down) // 2, (width - across) // 2, down, across


def evaluation_views(image: Tensor, evaluation: EvaluationConfig) -> list[Tensor]:
    """Return an image's test views, without their mirror images.

    Args:
        image: (3, H, W), uint8.
        evaluation: The test protocol.

    Returns:
        One tensor (K, 3, h, w) per shorter side: K is 5 for ten crops (four corners and centre),
        otherwise 1.
    """
    how = evaluation.interpolation
    resized = [resize_shorter(image, size, how) for size in evaluation.sizes]
    if evaluation.protocol == "multi_scale":
        return [each[None] for each in resized]
    crop = [evaluation.crop, evaluation.crop]
    if evaluation.protocol == "one_crop":
        return [tv.center_crop(each, crop)[None] for each in resized]
    return [torch.stack(tv.five_crop(each, crop)) for each in resized]
