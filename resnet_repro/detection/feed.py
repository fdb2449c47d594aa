"""Photographs with their objects, read by threads while the device computes.

Decoders release Python's lock, so threads of one process use all cores; photographs are resized and
mirrored on the device.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_repro.data.decode import REMEDY, UnreadableImage, read_image
from resnet_repro.data.feed import batch_slice
from resnet_repro.data.inputs import Inputs
from resnet_repro.data.order import BatchOrder
from resnet_repro.data.readers import STALL_SECONDS
from resnet_repro.detection.pyramid import Photograph
from resnet_repro.detection.scenes import Scene, Scenes, SceneSets
from resnet_repro.detection.targets import learned
from resnet_repro.distributed.group import Group
from resnet_repro.distributed.started import cores_per_process
from resnet_repro.errors import UserError
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

AHEAD = 3  # photographs per thread that are read before they are needed

_Photo = Tensor | UnreadableImage  # (3, H, W) uint8, or why there is none

Item = TypeVar("Item")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Sample:
    """A training photograph.

    Attributes:
        index: Its position in the training set.
        photograph: The photograph, mirrored or not.
        mirrored: Whether it is mirrored.
        boxes: (n, 4), the objects to learn, in pixels of the photograph as it is here.
        classes: (n,), 0 to K-1.
        exhaustive: Whether all objects of the classes are labelled.
    """

    index: int
    photograph: Photograph
    mirrored: bool
    boxes: Tensor
    classes: Tensor
    exhaustive: bool = True


class SceneFeed:
    """The photographs of a detector's run.

    A mini-batch is a function of the seed and the iteration, as for classifiers, and each process
    has its share of it.

    Args:
        data: The photographs and their objects.
        config: The run's settings.
        group: The processes that share the data.
        device: The device for the photographs.
        inputs: The normalisation of the classifier that the detector starts from.

    Attributes:
        inputs: The normalisation.
        device: The device.
        unreadable: Messages about the photographs that could not be read and were skipped.
    """

    def __init__(
        self,
        data: SceneSets,
        config: RunConfig,
        group: Group,
        device: torch.device,
        inputs: Inputs,
    ) -> None:
        self.data, self.inputs, self.unreadable = data, inputs.to(device), set(data.unreadable)
        self._group, self.device = group, device
        self._skips = config.data.skip_unreadable
        workers = config.compute.workers
        self._workers = cores_per_process(group.local_size) if workers is None else max(1, workers)
        self._order = BatchOrder(
            len(data.train),
            config.recipe.batch_size,
            num_views=2 if config.recipe.flip else 1,
            seed=config.seed,
            device=torch.device("cpu"),
        )
        self._recipe = config.recipe

    def batches(self, first: int, last: int) -> Generator[tuple[int, list[Any]], None, None]:
        """Yield each iteration from `first` to below `last`, with this process's samples of it.

        Raises:
            UserError: The processes cannot share a mini-batch equally; or all photographs are
                unreadable.
        """
        own = batch_slice(self._recipe, self._group)

        def asked() -> Iterator[tuple[int, int, int]]:
            for iteration in range(first, last):
                indices, views = (part[own].tolist() for part in self._order[iteration])
                yield from ((iteration, *each) for each in zip(indices, views, strict=True))

        scenes = self.data.train

        def read(item: tuple[int, int, int]) -> tuple[list[_Photo], Any]:
            photos = _read_some(scenes, item[1])
            index, pixels = (item[1] + len(photos) - 1) % len(scenes), photos[-1]
            if not isinstance(pixels, Tensor):
                return photos, None
            return photos, self.prepare(item, index, scenes[index], pixels)

        size = own.stop - own.start
        samples: list[Any] = []
        with self._read_ahead(asked(), read) as items:
            for item, (photos, prepared) in items:
                if [self._checked(photo) for photo in photos][-1] is None:
                    raise UserError(f"none of the {len(scenes)} photographs can be read")
                samples.append(self.finish(item, prepared))
                if len(samples) == size:
                    yield item[0], samples
                    samples = []

    def prepare(self, item: tuple[int, int, int], index: int, scene: Scene, pixels: Tensor) -> Any:  # noqa: ANN401
        """Return what a thread makes of a training photograph.

        Args:
            item: The iteration, the asked position in the training set, and the view.
            index: The position of the photograph that was read.
            scene: Its objects.
            pixels: (3, H, W), uint8.
        """
        return index, scene, pixels

    def finish(self, item: tuple[int, int, int], prepared: Any) -> Any:  # noqa: ANN401
        """Return the sample of what a thread prepared."""
        index, scene, pixels = prepared
        return self._sample(index, scene, pixels, mirrored=item[2] == 1)

    def to_inputs(self, iteration: int, samples: list[Any]) -> tuple[Any, ...]:
        """Return a batch as it is: what is left to do depends on the network."""
        return iteration, samples

    def pixels(
        self, scenes: Scenes, positions: Iterable[int]
    ) -> Generator[tuple[int, Tensor], None, None]:
        """Yield photographs by their positions in a set, (3, H, W) uint8, but unreadable ones."""

        def read(position: int) -> _Photo:
            return _read(scenes[position])

        with self._read_ahead(positions, read) as items:
            for position, photo in items:
                pixels = self._checked(photo)
                if pixels is not None:
                    yield position, pixels

    def own_share(self, scenes: Scenes) -> range:
        """Return the positions of a set that are this process's to test."""
        return range(self._group.rank, len(scenes), self._group.size)

    @contextmanager
    def _read_ahead(
        self, items: Iterable[Item], read: Callable[[Item], Read]
    ) -> Iterator[Iterator[tuple[Item, Read]]]:
        """Apply a function in threads, some items ahead, in order.

        Raises:
            RuntimeError: It takes too long: see `errors.shortage`.
        """
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="photographs")
        is_stalled = False

        def of(future: Future[Read]) -> Read:
            nonlocal is_stalled
            try:
                return future.result(STALL_SECONDS)
            except TimeoutError as error:
                is_stalled = True
                raise RuntimeError("a reader of photographs timed out") from error
            finally:
                del future  # its error refers to this frame, which holds the detector

        def first(waiting: deque[tuple[Item, Future[Read]]]) -> tuple[Item, Read]:
            return waiting[0][0], of(waiting.popleft()[1])

        def results() -> Iterator[tuple[Item, Read]]:
            waiting: deque[tuple[Item, Future[Read]]] = deque()
            for item in items:
                waiting.append((item, pool.submit(read, item)))
                if len(waiting) > AHEAD * self._workers:
                    yield first(waiting)
            while waiting:
                yield first(waiting)

        try:
            yield results()
        finally:
            pool.shutdown(wait=not is_stalled, cancel_futures=True)

    def _checked(self, photo: _Photo) -> Tensor | None:
        """Return a photograph's pixels; None if it is skipped."""
        if isinstance(photo, Tensor):
            return photo
        if not self._skips:
            raise UserError(f"{photo}\n{REMEDY}") from photo
        # Here and not in a thread: meanwhile the set may be sent to other processes.
        if str(photo) not in self.unreadable:
            logger.warning("skipped: %s", photo)
        self.unreadable.add(str(photo))
        return None

    def _sample(self, index: int, scene: Scene, pixels: Tensor, *, mirrored: bool) -> Sample:
        boxes, classes = learned(scene.boxes, scene.classes, scene.ignored)
        if mirrored:
            boxes = mirror(boxes, pixels.shape[2])
        return Sample(
            index,
            self.photograph(pixels, mirrored=mirrored),
            mirrored,
            boxes.to(self.device),
            classes.to(self.device),
            scene.exhaustive,
        )

    def photograph(
        self, pixels: Tensor, *, mirrored: bool = False, inputs: Inputs | None = None
    ) -> Photograph:
        """Return a photograph (3, H, W) uint8 that a network can see at any size.

        Args:
            pixels: The photograph.
            mirrored: Whether to mirror it.
            inputs: The normalisation of another network than the run's.
        """
        pixels = pixels.to(self.device, non_blocking=self.device.type == "cuda")
        how = inputs or self.inputs

        def image_at(height: int, width: int) -> Tensor:
            image = resize(pixels, height, width)
            return how.normalise(image.flip(-1) if mirrored else image)

        return Photograph(pixels.shape[1], pixels.shape[2], image_at)


def _read(scene: Scene) -> _Photo:
    try:
        pixels = read_image(scene.path)
    except UnreadableImage as error:
        return error
    height, width = pixels.shape[1:]
    if (height, width) != (scene.height, scene.width):
        raise UserError(
            f"{scene.path} has {width} x {height} pixels, and had {scene.width} x {scene.height} "
            f"when its boxes were read: run the same command again if it was replaced meanwhile"
        )
    return pixels


def _read_some(scenes: Scenes, index: int) -> list[_Photo]:
    """Return a photograph; or why it cannot be read, and the next ones up to one that can."""
    photos: list[_Photo] = []
    for tried in (*range(index, len(scenes)), *range(index)):
        photos.append(_read(scenes[tried]))
        if isinstance(photos[-1], Tensor):
            break
    return photos


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Return a photograph at another size: (3, h, w) uint8 -> (3, height, width), 0 to 1.

    Bilinear without smoothing, as the resizing of the papers' code (OpenCV's) is.
    """
    image = F.interpolate(
        pixels[None].float(), (height, width), mode="bilinear", align_corners=False
    )
    return image[0].div_(255)


def mirror(boxes: Tensor, width: int) -> Tensor:
    """Return boxes (n, 4) of a photograph in its mirror image."""
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
