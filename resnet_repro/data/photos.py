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


def random_view(
    image: Tensor, photo: PhotoConfig, size: int, flip: bool, draw: random.Random
) -> Tensor:
    """Take a training view.

    With `photo.scale` the whole image is resized, then cropped ([He15] Sec. 3.4). With `photo.area`
    a crop of random area and shape is resized, as in torchvision's RandomResizedCrop. With neither
    it is the centre crop.

    Args:
        image: (3, H, W), uint8.
        photo: The kind of view.
        size: Height and width of the view.
        flip: Whether to mirror half of the views.
        draw: The source of randomness.

    Returns:
        (3, size, size), uint8.
    """
    if photo.scale is not None:
        image = resize_shorter(image, draw.randint(*photo.scale), photo.interpolation)
        top = draw.randint(0, image.shape[1] - size)
        left = draw.randint(0, image.shape[2] - size)
        view = image[:, top : top + size, left : left + size]
    elif photo.area is not None:
        top, left, height, width = random_box(image, photo, draw)
        crop = image[:, top : top + height, left : left + width]
        crop = crop.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # a third faster to resize
        mode = v2.InterpolationMode(photo.interpolation)
        view = tv.resize(crop, [size, size], mode, antialias=True)
    else:
        view = tv.center_crop(resize_shorter(image, size, photo.interpolation), [size])
    mirrored = flip and draw.random() < 0.5
    return view.flip(-1) if mirrored else view


def random_box(image: Tensor, photo: PhotoConfig, draw: random.Random) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a crop of a random area and shape."""
    assert photo.area is not None
    height, width = image.shape[1:]
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
