"""Streaming of photographs from files to the device, prefetched by worker processes.

Workers decode, resize, crop and mirror in uint8, a quarter of float32's bytes to copy; colours and
normalisation are computed on the device.
"""

import logging
import random
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from resnet_repro.data.colour import draw_colour, recolour
from resnet_repro.data.decode import REMEDY, UnreadableImage
from resnet_repro.data.feed import Batches, Feed, Views, batch_slice
from resnet_repro.data.images import DataSet
from resnet_repro.data.inputs import Inputs, Sums
from resnet_repro.data.order import BatchOrder
from resnet_repro.data.photos import Photos, evaluation_views, random_view, read
from resnet_repro.data.readers import Batch, load
from resnet_repro.distributed.group import Group
from resnet_repro.errors import UserError
from resnet_repro.machine import num_cores
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

NUM_VIEW_SEEDS = 2**31  # a view's number seeds its crop, mirroring and colours
STATISTICS_IMAGES = 10_000  # AlexNet and fb.resnet.torch also used a subset for colours


class _TrainViews(Dataset[Batch]):
    """Training views: maps a share of a mini-batch, `[(index, seed), ...]`, to a `Batch`."""

    def __init__(
        self, photos: Photos, photo: PhotoConfig, size: int, *, flip: bool, skip: bool
    ) -> None:
        self.photos, self.photo, self.size = photos, photo, size
        self.flip, self.skip = flip, skip

    def __getitem__(self, share: list[tuple[int, int]]) -> Batch:
        views, labels, colours, unreadable = [], [], [], []
        for index, seed in share:
            draw = random.Random(seed)
            image, index, reasons = self._read(index)
            unreadable += reasons
            if image is None:
                return Batch(torch.empty(0), torch.empty(0), torch.empty(0), unreadable)
            views.append(random_view(image, self.photo, self.size, self.flip, draw))
            labels.append(int(self.photos.labels[index]))
            colours.append(draw_colour(draw, self.photo))
        return Batch(torch.stack(views), torch.tensor(labels), torch.tensor(colours), unreadable)

    def _read(self, index: int) -> tuple[Tensor | None, int, list[str]]:
        """Read an image or, if unreadable files are skipped, the next readable one."""
        reasons: list[str] = []
        while len(reasons) < len(self.photos):
            try:
                return read(self.photos, index), index, reasons
            except UnreadableImage as error:
                reasons.append(str(error))
                if not self.skip:
                    break
            index = (index + 1) % len(self.photos)
        return None, index, reasons


class _EvaluationViews(Dataset[list[Batch]]):
    """Test views: maps positions to batches of these images' views, one batch per shape."""

    def __init__(self, photos: Photos, first: int, step: int, evaluation: EvaluationConfig) -> None:
        self.photos, self.first, self.step = photos, first, step
        self.evaluation = evaluation

    def __getitem__(self, positions: list[int]) -> list[Batch]:
        alike: dict[torch.Size, list[tuple[int, Tensor]]] = {}
        unreadable = []
        for position in positions:
            try:
                image = read(self.photos, self.first + position * self.step)
            except UnreadableImage as error:
                unreadable.append(str(error))
                continue
            for views in evaluation_views(image, self.evaluation):
                alike.setdefault(views.shape, []).append((position, views))
        none = torch.empty(0)
        batches = [
            Batch(torch.stack([v for _, v in each]), torch.tensor([p for p, _ in each]), none, [])
            for each in alike.values()
        ]
        return [*batches, Batch(none, none, none, unreadable)] if unreadable else batches


class _ShareSampler(Sampler[list[tuple[int, int]]]):
    """This process's share of each mini-batch, from iteration `first` to below `last`."""

    def __init__(self, order: BatchOrder, part: slice, first: int, last: int) -> None:
        self.order, self.part, self.first, self.last = order, part, first, last

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for iteration in range(self.first, self.last):
            indices, views = (each[self.part].tolist() for each in self.order[iteration])
            yield list(zip(indices, views, strict=True))

    def __len__(self) -> int:
        return self.last - self.first


class StreamFeed(Feed):
    """Photographs read while the device computes.

    Args:
        data: The photographs' files.
        config: The run's settings.
        group: The processes that share the data.
        device: The device for the inputs.
        inputs: Statistics from an earlier session; None computes them.
    """

    def __init__(
        self,
        data: DataSet[Photos],
        config: RunConfig,
        group: Group,
        device: torch.device,
        inputs: Inputs | None,
    ) -> None:
        self._train, self._test, self._config, self._group = data.train, data.test, config, group
        self._device = device
        self._workers = config.compute.workers
        if self._workers is None:
            self._workers = max(1, num_cores() // group.local_size)
        self.test_labels = torch.from_numpy(data.test.labels[group.rank :: group.size]).to(device)
        self.unreadable = set()
        recipe = config.recipe
        self._order = BatchOrder(
            len(data.train),
            recipe.batch_size,
            num_views=NUM_VIEW_SEEDS,
            seed=config.seed,
            device=torch.device("cpu"),
        )
        self._slice = batch_slice(recipe, group)
        self.inputs = (inputs or self._measure()).to(device)

    def batches(self, first: int, last: int) -> Batches:
        recipe = self._config.recipe
        views = self._views(recipe.photo, flip=recipe.flip)
        with closing(
            self._load(views, _ShareSampler(self._order, self._slice, first, last))
        ) as loaded:
            for batch in loaded:
                self._note(batch.unreadable)
                pixels = batch.pixels.to(self._device, non_blocking=True)
                labels = batch.numbers.to(self._device, non_blocking=True)
                colours = batch.colours.to(self._device, non_blocking=True)
                yield pixels, labels, colours

    def to_inputs(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        pixels, labels, colours = batch
        images = pixels.float().div_(255)
        images = recolour(images, colours, self._config.recipe.photo, self.inputs.components)
        return self.inputs.normalise(images), labels

    def test(self, evaluation: EvaluationConfig) -> Views:
        mirrored = evaluation.flip or evaluation.protocol == "ten_crop"
        num_views = (5 if evaluation.protocol == "ten_crop" else 1) * (2 if mirrored else 1)
        positions = torch.arange(len(self.test_labels))
        views = _EvaluationViews(self._test, self._group.rank, self._group.size, evaluation)
        batches = torch.split(positions, max(1, evaluation.batch_size // num_views))
        with closing(self._load(views, [each.tolist() for each in batches])) as loaded:
            for batch in chain.from_iterable(loaded):
                self._note(batch.unreadable)
                if len(batch.numbers) == 0:
                    continue
                pixels = batch.pixels.to(self._device, non_blocking=True)
                if mirrored:
                    pixels = torch.cat([pixels, pixels.flip(-1)], dim=1)
                yield batch.numbers.to(self._device), self.inputs.normalise(pixels)

    def _measure(self) -> Inputs:
        """Compute statistics of training photographs' centres; every machine uses the same."""
        recipe, size = self._config.recipe, self._config.data.image_size
        chosen = torch.randperm(len(self._train), generator=torch.Generator().manual_seed(0))
        chosen = chosen[:STATISTICS_IMAGES][self._group.rank :: self._group.size]
        batches = [[(i, 0) for i in each.tolist()] for each in torch.split(chosen, 100)]
        sums = Sums(size, colours=True)
        with closing(self._load(self._views(PhotoConfig(), flip=False), batches)) as loaded:
            for batch in loaded:
                self._note(batch.unreadable)
                sums.add([batch.pixels])
        for tensor in sums.tensors():
            self._group.all_reduce_sum(tensor)
        return sums.inputs(recipe.input, pca=recipe.photo.pca > 0)

    def _views(self, photo: PhotoConfig, *, flip: bool) -> _TrainViews:
        data = self._config.data
        return _TrainViews(
            self._train, photo, data.image_size, flip=flip, skip=data.skip_unreadable
        )

    def _load(self, views: Dataset[Any], batches: Any) -> Generator[Any, None, None]:  # noqa: ANN401
        """Yield the batches that workers prepare (`readers.load`)."""
        return load(views, batches, self._workers or 0, pin=self._device.type == "cuda")

    def _note(self, unreadable: list[str]) -> None:
        """Stop at an unreadable file or, with `data.skip_unreadable`, note and skip it."""
        if unreadable and not self._config.data.skip_unreadable:
            raise UserError(f"{unreadable[0]}\n{REMEDY}")
        for message in unreadable:
            if message not in self.unreadable:
                logger.warning("skipped: %s", message)
        self.unreadable.update(unreadable)
