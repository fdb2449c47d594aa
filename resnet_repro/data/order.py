"""Which images a mini-batch holds, and how each is augmented."""

import hashlib

import torch
from torch import Tensor


def digest_seed(*numbers: int) -> int:
    """Return a seed that depends on all numbers: torch's CPU generator looks at 32 bits only."""
    digest = hashlib.sha256("/".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


class BatchOrder:
    """The order of the training images: a function of the seed and the iteration alone.

    The training set is shuffled anew each epoch, and the epochs stand one after the other in an
    endless row; mini-batch i is the row's images from i * B to (i + 1) * B. So all mini-batches are
    full, as the papers' counting in iterations has it (390.6 of them are an epoch of CIFAR), and
    what a mini-batch holds does not depend on what was drawn before, nor on the device, nor on
    the number of processes: each takes its share of every mini-batch.

    Args:
        num_images: N.
        batch_size: B.
        num_views: Each image's view is a number below this, all equally likely.
        seed: Of the run.
        device: Where the results are wanted.
    """

    def __init__(
        self, num_images: int, batch_size: int, *, num_views: int, seed: int, device: torch.device
    ) -> None:
        self.num_images, self.batch_size, self.num_views = num_images, batch_size, num_views
        self.seed, self.device = seed, device
        self._epochs: dict[int, tuple[Tensor, Tensor]] = {}

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Return the images' indices and the number of the view taken of each, both (B,), int64."""
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
        # Drawn on the CPU, so that every device sees the same order; once per epoch.
        generator = torch.Generator().manual_seed(digest_seed(self.seed, epoch))
        indices = torch.randperm(self.num_images, generator=generator)
        views = torch.randint(self.num_views, (self.num_images,), generator=generator)
        return indices.to(self.device), views.to(self.device)
