"""Images held in memory as uint8, and their augmentation.

Shapes: N images, B images of a mini-batch, C = 3 channels, H x W pixels, P pixels of padding.

    [He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

import hashlib
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """A labelled set of images.

    Attributes:
        pixels: (N, C, H, W), uint8.
        labels: (N,), int64.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: slice | Tensor) -> "Images":
        return Images(self.pixels[which], self.labels[which])

    def add_to(self, digest: "hashlib._Hash") -> None:
        """Add pixels and labels to a checksum."""
        digest.update(self.pixels.numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())

    def to(self, device: torch.device) -> "Images":
        """Return the set on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))


class Part(Protocol):
    """The training or the test images of a data set, in memory or as files."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Tensor) -> Self: ...

    def add_to(self, digest: "hashlib._Hash") -> None: ...


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class DataSet(Generic[P]):
    """Images to train and to test on.

    Attributes:
        train: The training images.
        test: The test images, or the held-out training images.
        class_names: The classes' names, one per label.
        unreadable: The messages about files skipped when the images were read.
    """

    train: P
    test: P
    class_names: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    def checksum(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of all images, or their names, in order."""
        digest = hashlib.sha256()
        self.train.add_to(digest)
        self.test.add_to(digest)
        return digest.hexdigest()[:16]


def crop_and_flip(images: Tensor, views: Tensor, padding: int) -> Tensor:
    """Take one view of each image: zero-pad, crop at an offset, and mirror half of the views.

    [He15] Sec. 4.2: "4 pixels are padded on each side, and a 32x32 crop is randomly sampled from
    the padded image or its horizontal flip".

    Args:
        images: (B, C, H, W), normalised: the padding is zero after the mean is subtracted.
        views: (B,), int64; view v has offset v mod (2P + 1)^2, row-major, and is mirrored if
            v >= (2P + 1)^2.
        padding: P, on each side.

    Returns:
        (B, C, H, W), in channels-last memory format.
    """
    size = 2 * padding + 1
    height, width = images.shape[2:]
    offsets = views % size**2
    across = torch.arange(width, device=views.device)
    mirrored = (views >= size**2)[:, None]
    rows = (offsets // size)[:, None] + torch.arange(height, device=views.device)  # (B, H)
    columns = (offsets % size)[:, None] + torch.where(mirrored, width - 1 - across, across)
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)  # (B, H + 2P, W + 2P, C)
    each = torch.arange(len(images), device=views.device)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
