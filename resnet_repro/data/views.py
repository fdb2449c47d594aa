"""The views of photographs, taken by workers, or on the device of the files that workers read."""

import random
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from resnet_repro.data.colour import draw_colour
from resnet_repro.data.decode import UnreadableImage
from resnet_repro.data.gpu_decode import Photograph, read_source
from resnet_repro.data.photos import Photos, View, draw_view, evaluation_views, read, take_view
from resnet_repro.data.readers import Batch, Files
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig

NONE = torch.empty(0)


class TrainViews(Dataset[Batch | Files]):
    """Training views: maps a share of a mini-batch, `[(index, seed), ...]`, to a `Batch`.

    Args:
        photos: The photographs.
        photo: The kind of view.
        size: Height and width of a view.
        flip: Whether to mirror half of the views.
        skip: Whether to take the next photograph instead of an unreadable one.
        files: Whether to return `Files` instead, for `on_device`.
    """

    def __init__(
        self,
        photos: Photos,
        photo: PhotoConfig,
        size: int,
        *,
        flip: bool,
        skip: bool,
        files: bool = False,
    ) -> None:
        self.photos, self.photo, self.size = photos, photo, size
        self.flip, self.skip, self.files = flip, skip, files

    def __getitem__(self, share: Sequence[tuple[int, int]]) -> Batch | Files:
        return self._make(share, self.files)

    def on_device(
        self, files: Files, images: Iterable[Tensor | None], device: torch.device
    ) -> Batch:
        """Return the views of photographs as a batch on the device.

        Args:
            files: The photographs, from a worker.
            images: The same decoded, (3, H, W) uint8 on the device; the CPU decodes those of None.
            device: The device.
        """
        pixels, numbers, colours = [], files.numbers.clone(), files.colours.clone()
        unreadable = list(files.unreadable)
        each = zip(files.asked, files.views.tolist(), images, strict=True)
        for place, (asked, view, image) in enumerate(each):
            if image is not None:
                pixels.append(self._take(image, View(*view)))
                continue
            again = self._make([asked], files=False)
            unreadable += again.unreadable
            if not len(again.numbers):
                return Batch(NONE, NONE, NONE, unreadable)
            assert isinstance(again, Batch)
            pixels.append(again.pixels[0].to(device))
            numbers[place], colours[place] = again.numbers[0], again.colours[0]
        return Batch(torch.stack(pixels), numbers.to(device), colours.to(device), unreadable)

    def _make(self, share: Sequence[tuple[int, int]], files: bool) -> Batch | Files:
        made, views, labels, colours = [], [], [], []
        unreadable: list[str] = []
        for index, seed in share:
            draw = random.Random(seed)
            source, index, reasons = self._read(index, files)
            unreadable += reasons
            if source is None:
                return Batch(NONE, NONE, NONE, unreadable)
            view = draw_view(source.height, source.width, self.photo, self.size, self.flip, draw)
            made.append(source.content if files else self._take(source.content, view))
            views.append(view)
            labels.append(int(self.photos.labels[index]))
            colours.append(draw_colour(draw, self.photo))
        rest = torch.tensor(labels), torch.tensor(colours), unreadable
        if files:
            return Files.of(made, share, torch.tensor(views), *rest)
        return Batch(torch.stack(made), *rest)

    def _take(self, image: Tensor, view: View) -> Tensor:
        return take_view(image, view, self.size, self.photo.interpolation)

    def _read(self, index: int, files: bool) -> tuple[Photograph | None, int, list[str]]:
        """Read a photograph or, if unreadable files are skipped, the next readable one."""
        reasons: list[str] = []
        while len(reasons) < len(self.photos):
            try:
                return _read(self.photos, index, files), index, reasons
            except UnreadableImage as error:
                reasons.append(str(error))
                if not self.skip:
                    break
            index = (index + 1) % len(self.photos)
        return None, index, reasons


class EvaluationViews(Dataset[list[Batch] | Files]):
    """Test views: maps positions to batches of these images' views, one batch per shape.

    Args:
        photos: The photographs.
        first: The index of the one at position 0.
        step: The step from one position's index to the next.
        evaluation: The test protocol.
        files: Whether to return `Files` instead, for `on_device`.
    """

    def __init__(
        self,
        photos: Photos,
        first: int,
        step: int,
        evaluation: EvaluationConfig,
        *,
        files: bool = False,
    ) -> None:
        self.photos, self.first, self.step = photos, first, step
        self.evaluation, self.files = evaluation, files

    def __getitem__(self, positions: list[int]) -> list[Batch] | Files:
        return self._files(positions) if self.files else self._batches(positions)

    def on_device(
        self, files: Files, images: Iterable[Tensor | None], device: torch.device
    ) -> list[Batch]:
        """Return the views of photographs as batches on the device.

        Arguments are those of `TrainViews.on_device`.
        """
        unreadable = list(files.unreadable)

        def decoded() -> Iterable[tuple[int, Tensor]]:
            for position, image in zip(files.asked, images, strict=True):
                if image is not None:
                    yield position, image
                    continue
                for _, source in self._found([position], False, unreadable):
                    yield position, source.content.to(device)

        batches = self._alike(decoded())
        return [
            *(each._replace(numbers=each.numbers.to(device)) for each in batches),
            *self._unreadable(unreadable),
        ]

    def _batches(self, positions: list[int]) -> list[Batch]:
        unreadable: list[str] = []
        found = self._found(positions, False, unreadable)
        batches = self._alike((position, source.content) for position, source in found)
        return [*batches, *self._unreadable(unreadable)]

    def _files(self, positions: list[int]) -> Files:
        unreadable: list[str] = []
        found = list(self._found(positions, True, unreadable))
        contents, asked = [source.content for _, source in found], [each for each, _ in found]
        return Files.of(contents, asked, NONE, NONE, NONE, unreadable)

    def _found(
        self, positions: list[int], files: bool, unreadable: list[str]
    ) -> Iterable[tuple[int, Photograph]]:
        """Yield the photographs that can be read; append messages about the others."""
        for position in positions:
            try:
                yield position, _read(self.photos, self.first + position * self.step, files)
            except UnreadableImage as error:
                unreadable.append(str(error))

    def _alike(self, images: Iterable[tuple[int, Tensor]]) -> list[Batch]:
        alike: dict[torch.Size, list[tuple[int, Tensor]]] = {}
        for position, image in images:
            for views in evaluation_views(image, self.evaluation):
                alike.setdefault(views.shape, []).append((position, views))
        return [
            Batch(torch.stack([v for _, v in each]), torch.tensor([p for p, _ in each]), NONE, [])
            for each in alike.values()
        ]

    def _unreadable(self, messages: list[str]) -> list[Batch]:
        return [Batch(NONE, NONE, NONE, messages)] if messages else []


def _read(photos: Photos, index: int, files: bool) -> Photograph:
    if files:
        return read_source(photos.path(index))
    image = read(photos, index)
    return Photograph(image, image.shape[1], image.shape[2])
