"""Images held in memory as uint8: their order, their augmentation, what a network is shown.

Shapes: N images, B of a mini-batch, C = 3 channels, H x W pixels, P pixels of padding.

    [He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

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

    def to(self, device: torch.device) -> "Images":
        """Return the set on a device, where it stays."""
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class DataSet:
    """What a run is trained and tested on.

    Attributes:
        train: The training images.
        test: The test images, or the held-out ones.
        class_names: One per label.
    """

    train: Images
    test: Images
    class_names: tuple[str, ...]

    def checksum(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of all pixels and labels, in order."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update(part.pixels.numpy().tobytes())
            digest.update(part.labels.numpy().tobytes())
        return digest.hexdigest()[:16]


class BatchOrder:
    """Which images a mini-batch holds, and how each is augmented.

    The training set is shuffled anew each epoch, and the epochs stand one after the other in an
    endless row; mini-batch i is the row's images from i * B to (i + 1) * B. So all mini-batches are
    full, as the papers' counting in iterations has it (390.6 of them are an epoch of CIFAR), and
    what a mini-batch holds depends on the seed and on i alone: not on what was drawn before, nor
    on the device.

    Args:
        num_images: N.
        batch_size: B.
        padding: P; (2P + 1)^2 crops are equally likely.
        flip: Half the images are mirrored.
        seed: Of the run.
        device: Where the results are wanted.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        *,
        padding: int,
        flip: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.device = device
        self.num_views = (2 * padding + 1) ** 2 * (2 if flip else 1)
        self._epochs: dict[int, tuple[Tensor, Tensor]] = {}

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Return the images' indices and the number of the view taken of each, both (B,), int64."""
        begin = iteration * self.batch_size
        end = begin + self.batch_size
        first, last = begin // self.num_images, (end - 1) // self.num_images
        self._epochs = {e: self._epochs.get(e) or self._draw(e) for e in range(first, last + 1)}
        indices, views = (torch.cat(parts) for parts in zip(*self._epochs.values(), strict=True))
        here = slice(begin - first * self.num_images, end - first * self.num_images)
        return indices[here], views[here]

    def _draw(self, epoch: int) -> tuple[Tensor, Tensor]:
        # Drawn on the CPU, so that every device sees the same order; once per epoch.
        # A digest, because torch's CPU generator looks at 32 bits of its seed only.
        digest = hashlib.sha256(f"{self.seed}/{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        indices = torch.randperm(self.num_images, generator=generator)
        views = torch.randint(self.num_views, (self.num_images,), generator=generator)
        return indices.to(self.device), views.to(self.device)


def per_pixel_mean(images: Images) -> Tensor:
    """Return the mean image, (C, H, W), float32 in 0..1 ([He15] Sec. 4.2)."""
    total = torch.zeros(images.pixels.shape[1:], dtype=torch.int64, device=images.pixels.device)
    for chunk in torch.split(images.pixels, 4096):
        total += chunk.sum(dim=0, dtype=torch.int64)
    mean = total.cpu().double() / (255 * len(images))  # not every device has float64
    return mean.float().to(total.device)


def normalise(pixels: Tensor, mean: Tensor) -> Tensor:
    """Turn pixels into the network's input: (B, C, H, W) uint8 -> float32, 0..1 less the mean."""
    return pixels.float().div_(255).sub_(mean)


def crop_and_flip(images: Tensor, views: Tensor, padding: int) -> Tensor:
    """Take one view of each image: zero-pad it, crop it at an offset, mirror it or not.

    [He15] Sec. 4.2: "4 pixels are padded on each side, and a 32x32 crop is randomly sampled from
    the padded image or its horizontal flip".

    Args:
        images: (B, C, H, W), normalised, so that the padding is zero after the mean is subtracted.
        views: (B,), int64; view v has offset v mod (2P + 1)^2, row-major, mirrored if
            v >= (2P + 1)^2.
        padding: P, on each side.

    Returns:
        (B, C, H, W).
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
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def in_batches(images: Images, batch_size: int) -> Iterator[Images]:
    """Yield the images in order, each once, the last batch as small as it comes."""
    bounds = [*range(0, len(images), batch_size), len(images)]
    for begin, end in pairwise(bounds):
        yield images[begin:end]
