"""Streaming of photographs from files to the device, prefetched by worker processes.

Workers decode, resize, crop and mirror in uint8, a quarter of float32's bytes to copy; colours and
normalisation are computed on the device. With `compute.decode=cuda` workers only read the files.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import cache
from itertools import chain
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from resnet_repro.data.colour import recolour
from resnet_repro.data.decode import REMEDY
from resnet_repro.data.feed import Batches, Feed, Views, batch_slice
from resnet_repro.data.gpu_decode import decode_all, gpu_decoder, one_ahead
from resnet_repro.data.images import DataSet
from resnet_repro.data.inputs import Inputs, Sums
from resnet_repro.data.order import BatchOrder
from resnet_repro.data.photos import Photos
from resnet_repro.data.readers import Batch, Files, load
from resnet_repro.data.views import EvaluationViews, TrainViews
from resnet_repro.distributed.group import Group
from resnet_repro.distributed.started import cores_per_process
from resnet_repro.errors import UserError
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

NUM_VIEW_SEEDS = 2**31  # a view's number seeds its crop, mirroring and colours
STATISTICS_IMAGES = 10_000  # AlexNet and fb.resnet.torch also used a subset for colours


@cache
def _decoding_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all feeds that decode: torch has 32, and then gives one to two users."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


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

    Raises:
        UserError: The GPU is to decode and cannot, a file cannot be read, or the mini-batch cannot
            be divided.
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
        self._decoder = gpu_decoder(device) if config.decodes_on_gpu else None
        self._stream = None
        if self._decoder is not None and device.type == "cuda":
            self._stream = _decoding_stream(device)
        self._workers = config.compute.workers
        if self._workers is None:
            self._workers = cores_per_process(group.local_size)
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
        views = self._views(recipe.photo, flip=recipe.flip, files=self._decoder is not None)
        sampler = _ShareSampler(self._order, self._slice, first, last)
        with (
            closing(self._load(views, sampler)) as loaded,
            closing(self._to_device(loaded, views.on_device)) as batches,
        ):
            for batch in batches:
                self._note(batch.unreadable)
                yield batch.pixels, batch.numbers, batch.colours

    def to_inputs(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        pixels, labels, colours = batch
        images = pixels.float().div_(255)
        images = recolour(images, colours, self._config.recipe.photo, self.inputs.components)
        return self.inputs.normalise(images), labels

    def test(self, evaluation: EvaluationConfig) -> Views:
        mirrored = evaluation.flip or evaluation.protocol == "ten_crop"
        num_views = (5 if evaluation.protocol == "ten_crop" else 1) * (2 if mirrored else 1)
        if evaluation.protocol == "multi_scale":  # whole photographs, in crops of as many pixels
            num_views *= ceil(sum((size / evaluation.crop) ** 2 for size in evaluation.sizes))
        positions = torch.arange(len(self.test_labels))
        views = EvaluationViews(
            self._test,
            self._group.rank,
            self._group.size,
            evaluation,
            files=self._decoder is not None,
        )
        parts = torch.split(positions, max(1, evaluation.batch_size // num_views))
        with (
            closing(self._load(views, [each.tolist() for each in parts])) as loaded,
            closing(self._to_device(loaded, views.on_device)) as batches,
        ):
            for batch in chain.from_iterable(batches):
                self._note(batch.unreadable)
                if len(batch.numbers) == 0:
                    continue
                pixels = batch.pixels
                if mirrored:
                    pixels = torch.cat([pixels, pixels.flip(-1)], dim=1)
                yield batch.numbers, self.inputs.normalise(pixels)

    def _measure(self) -> Inputs:
        """Compute statistics of training photographs' centres; every machine uses the same.

        The CPU decodes these whatever `compute.decode` is, so that the statistics are the same too.
        """
        recipe, size = self._config.recipe, self._config.data.image_size
        chosen = torch.randperm(len(self._train), generator=torch.Generator().manual_seed(0))
        chosen = chosen[:STATISTICS_IMAGES][self._group.rank :: self._group.size]
        parts = torch.split(chosen, 100) if len(chosen) else []  # a process may have none
        batches = [[(i, 0) for i in each.tolist()] for each in parts]
        sums = Sums(size, colours=True)
        views = self._views(PhotoConfig(), flip=False, files=False)
        with closing(self._load(views, batches)) as loaded:
            for batch in loaded:
                self._note(batch.unreadable)
                sums.add([batch.pixels] * (len(batch.numbers) > 0))
        for tensor in sums.tensors():
            self._group.all_reduce_sum(tensor)
        if not sums.num_images:
            title = self._config.data.title
            raise UserError(f"none of the training photographs of {title} can be read")
        return sums.inputs(recipe.input, pca=recipe.photo.pca > 0)

    def _views(self, photo: PhotoConfig, *, flip: bool, files: bool) -> TrainViews:
        data = self._config.data
        return TrainViews(
            self._train, photo, data.image_size, flip=flip, skip=data.skip_unreadable, files=files
        )

    def _load(self, views: Dataset[Any], batches: Any) -> Generator[Any, None, None]:  # noqa: ANN401
        """Yield the batches that workers prepare (`readers.load`)."""
        return load(views, batches, self._workers or 0, pin=self._device.type == "cuda")

    def _to_device(
        self, loaded: Iterable[Any], on_device: Callable[..., Any]
    ) -> Generator[Any, None, None]:
        """Yield what workers prepared on the device; what they only read, with its views taken."""
        if self._decoder is None:
            yield from (_moved(each, self._device) for each in loaded)
            return
        decoder, device = self._decoder, self._device

        def take(made: Any) -> Any:  # noqa: ANN401
            if not isinstance(made, Files):  # nothing could be read
                return made
            return on_device(made, decode_all(decoder, made.contents(), device), device)

        with closing(one_ahead(loaded, take, self._stream)) as taken:
            for each in taken:
                _use_here(each)
                yield each

    def _note(self, unreadable: list[str]) -> None:
        """Stop at an unreadable file or, with `data.skip_unreadable`, note and skip it."""
        if unreadable and not self._config.data.skip_unreadable:
            raise UserError(f"{unreadable[0]}\n{REMEDY}")
        for message in unreadable:
            if message not in self.unreadable:
                logger.warning("skipped: %s", message)
        self.unreadable.update(unreadable)


def _moved(made: Any, device: torch.device) -> Any:  # noqa: ANN401
    """Return a batch, or a list of them, on a device.

    Only CUDA copies without waiting: torch before 2.13 frees what it copies to MPS too early.
    """
    if isinstance(made, list):
        return [_moved(each, device) for each in made]
    tensors = {name: each for name, each in made._asdict().items() if isinstance(each, Tensor)}
    return made._replace(
        **{
            name: each.to(device, non_blocking=device.type == "cuda")
            for name, each in tensors.items()
        }
    )


def _use_here(made: Batch | list[Batch]) -> None:
    """Keep the memory of batches made on another stream until the current one has used them."""
    for batch in made if isinstance(made, list) else [made]:
        for tensor in (batch.pixels, batch.numbers, batch.colours):
            if tensor.is_cuda:
                tensor.record_stream(torch.cuda.current_stream(tensor.device))
