"""The images of each mini-batch, and how each is augmented."""

import hashlib

import torch
from torch import Tensor


def digest_seed(*numbers: int) -> int:
    """Return a seed that depends on all numbers: torch's CPU generator uses 32 bits only."""
    digest = hashlib.sha256("/".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


class BatchOrder:
    """The order of the training images: a function of the seed and the iteration only.

    The training set is reshuffled each epoch, and the epochs form one endless sequence; mini-batch
    i is its images from i * B to (i + 1) * B. So all mini-batches are full, as the papers' counts
    of iterations imply (an epoch of CIFAR is 390.6 of them), and a mini-batch does not depend on
    earlier ones, the device or the number of processes: each takes its share of every mini-batch.

    Args:
        num_images: The number of images N.
        batch_size: The mini-batch size B.
        num_views: The number of views of an image, all equally likely.
        seed: The run's seed.
        device: The device for the results.
    """

    def __init__(
        self, num_images: int, batch_size: int, *, num_views: int, seed: int, device: torch.device
    ) -> None:
        self.num_images, self.batch_size, self.num_views = num_images, batch_size, num_views
        self.seed, self.device = seed, device
        self._epochs: dict[int, tuple[Tensor, Tensor]] = {}

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Return the images' indices and the number of each one's view, both (B,), int64."""
        begin = iteration * self.batch_size
        end = begin + self.batch_size
        first, last = begin // self.num_images, (end - 1) // self.num_images
        self._epochs = {e: self._epochs.get(e) or self._draw(e) for e in range(first, last + 1)}
        parts = []
        for epoch, drawn in self._epochs.items():
            start = epoch * self.num_images
            here = slice(max(0, begin - start), end - start)
            parts.append([each[here] for each in drawn])
        if len(parts) == 1:
            return parts[0][0], parts[0][1]
        indices, views = (torch.cat(each) for each in zip(*parts, strict=True))
        return indices, views

    def _draw(self, epoch: int) -> tuple[Tensor, Tensor]:
        # Once per epoch, on the CPU, so that every device gets the same order.
        generator = torch.Generator().manual_seed(digest_seed(self.seed, epoch))
        indices = torch.randperm(self.num_images, generator=generator)
        views = torch.randint(self.num_views, (self.num_images,), generator=generator)
        return indices.to(self.device), views.to(self.device)
