"""From a data set to the network's inputs: this process's share, on its device.

A `Feed` hides whether the images are in memory or are read from files while the device computes.
Shapes: B images of this process's share of a mini-batch, K views of a test image.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing

import torch
from torch import Tensor

from resnet_repro.data.images import DataSet, Images, crop_and_flip
from resnet_repro.data.inputs import Inputs, Sums
from resnet_repro.data.order import BatchOrder
from resnet_repro.distributed.group import Group
from resnet_repro.errors import UserError
from resnet_repro.kernels import Kernels, Pool
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import RecipeConfig
from resnet_repro.settings.run import RunConfig

# Inputs with their labels or positions. To be closed after use, as workers may feed them.
Views = Generator[tuple[Tensor, Tensor], None, None]
Batches = Generator[tuple[Tensor, ...], None, None]
CHUNK = 4096  # images per step when statistics are computed


class Feed(ABC):
    """The data of a run, as inputs of the network.

    Attributes:
        inputs: Statistics of the training images, on the device.
        test_labels: (N,), int64, the labels of this process's test images, on the device.
        unreadable: The messages about files skipped so far, with `data.skip_unreadable`.
    """

    inputs: Inputs
    test_labels: Tensor
    unreadable: set[str]

    @abstractmethod
    def batches(self, first: int, last: int) -> Batches:
        """Yield the batch of each iteration from `first` to below `last`, on the device.

        Images of one batch-norm group stay together for any number of processes.
        """

    @abstractmethod
    def to_inputs(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return a batch's inputs (B, C, H, W) and labels (B,), computed on the device only."""

    def train(self, first: int, last: int) -> Views:
        """Yield inputs and labels of the iterations from `first` to below `last`."""
        with closing(self.batches(first, last)) as batches:
            for batch in batches:
                yield self.to_inputs(*batch)

    @abstractmethod
    def test(self, evaluation: EvaluationConfig) -> Views:
        """Yield positions (B,) in `test_labels` and the inputs there, (B, K, C, H, W)."""


class MemoryFeed(Feed):
    """Images held on the device as uint8 and augmented there.

    Args:
        data: The images.
        config: The run's settings.
        group: The processes that share the data.
        device: The device for the images.
        inputs: Statistics from an earlier session; None computes them.
        kernels: What makes training views in one pass; None: torch's operators.
    """

    def __init__(
        self,
        data: DataSet[Images],
        config: RunConfig,
        group: Group,
        device: torch.device,
        inputs: Inputs | None,
        kernels: Kernels | None = None,
    ) -> None:
        self.unreadable = set(data.unreadable)
        recipe = config.recipe
        self._train = data.train.to(device)
        self._test = data.test[group.rank :: group.size].to(device)
        self.test_labels = self._test.labels
        sums = Sums(config.data.image_size, colours=recipe.input == "channels")
        if inputs is None:
            sums.add(torch.split(self._train.pixels, CHUNK))
        self.inputs = (inputs or sums.inputs(recipe.input, pca=False)).to(device)
        self._padding, self._kernels = recipe.crop_padding, kernels
        mean, std = self.inputs.mean, self.inputs.std
        self._pool = Pool(
            self._train.pixels.contiguous(),
            self._train.labels,
            mean.expand(self._train.pixels.shape[1:]).contiguous(),
            torch.ones_like(mean[:, 0, 0]) if std is None else std.flatten(),
            recipe.crop_padding,
        )
        num_crops = (2 * recipe.crop_padding + 1) ** 2
        self._order = BatchOrder(
            len(self._train),
            recipe.batch_size,
            num_views=num_crops * (2 if recipe.flip else 1),
            seed=config.seed,
            device=device,
        )
        self._slice = batch_slice(recipe, group)

    def batches(self, first: int, last: int) -> Batches:
        for iteration in range(first, last):
            indices, views = (part[self._slice] for part in self._order[iteration])
            yield indices, views

    def to_inputs(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        indices, views = batch
        if self._kernels is not None:
            return self._kernels.augment(self._pool, indices, views)
        images = self.inputs.normalise(self._train.pixels[indices])
        return crop_and_flip(images, views, self._padding), self._train.labels[indices]

    def test(self, evaluation: EvaluationConfig) -> Views:
        all_positions = torch.arange(len(self._test), device=self.test_labels.device)
        for positions in torch.split(all_positions, evaluation.batch_size):
            views = self._test.pixels[positions][:, None]
            if evaluation.flip:
                views = torch.cat([views, views.flip(-1)], dim=1)
            yield positions, self.inputs.normalise(views)


def batch_slice(recipe: RecipeConfig, group: Group) -> slice:
    """Return this process's slice of a mini-batch: whole batch-norm groups, an equal share.

    Raises:
        UserError: The mini-batch cannot be divided equally.
    """
    unit = recipe.bn_batch or 1
    if recipe.batch_size // unit % group.size:
        what = f"groups of recipe.bn_batch={unit}" if recipe.bn_batch else "images"
        raise UserError(
            f"{group.size} processes cannot share the {recipe.batch_size // unit} {what} of a "
            f"mini-batch evenly: change compute.processes, or the recipe (the table notes that)"
        )
    size = recipe.batch_size // group.size
    return slice(group.rank * size, (group.rank + 1) * size)
