"""Training samples of localisation: crops of photographs, or regions of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_repro.data.inputs import Inputs
from resnet_repro.data.order import digest_seed
from resnet_repro.detection.anchors import STRIDE, grid
from resnet_repro.detection.feed import SceneFeed, mirror
from resnet_repro.detection.localisation.looks import random_crop, warped
from resnet_repro.detection.scenes import Scene, SceneSets
from resnet_repro.detection.targets import (
    anchor_targets,
    generator,
    learned,
    region_targets,
)
from resnet_repro.distributed.group import Group
from resnet_repro.settings.run import RunConfig

CROP = 2  # distinguishes the random numbers of crops from those of anchors and regions

# The position of a training photograph -> the proposals for it, (m, 4).
Proposals = Callable[[int], Tensor]


@dataclass(frozen=True)
class ClassSample:
    """What a photograph gives to a mini-batch: n sampled anchors or regions.

    Attributes:
        label: Its class.
        pixels: (k, 3, size, size), uint8: one crop, or n warped regions.
        places: (n,), the anchors in the list of all of a crop; none of regions.
        is_object: (n,), bool, which of them are objects.
        deltas: (n, 4), where the objects are relative to them; of regions normalised.
    """

    label: int
    pixels: Tensor
    places: Tensor
    is_object: Tensor
    deltas: Tensor


class LocalisationFeed(SceneFeed):
    """The photographs of a run of localisation; its workers cut out what is trained on.

    Arguments are those of `SceneFeed`.

    Attributes:
        given: The proposals for training photographs, if regions are trained on.
    """

    def __init__(
        self,
        data: SceneSets,
        config: RunConfig,
        group: Group,
        device: torch.device,
        inputs: Inputs,
    ) -> None:
        super().__init__(data, config, group, device, inputs)
        self._config = config
        self.given: Proposals | None = None
        positions = -(-config.data.image_size // STRIDE)
        self._anchors = grid(positions, positions, config.detector.anchors)

    def prepare(
        self, item: tuple[int, int, int], index: int, scene: Scene, pixels: Tensor
    ) -> ClassSample:
        iteration, _, view = item
        boxes, classes = learned(scene.boxes, scene.classes, scene.ignored)
        label = int(classes[0])
        if self.given is None:
            return self._crop(iteration, index, label, boxes, pixels, mirrored=view == 1)
        return self._regions(iteration, index, label, boxes, pixels, mirrored=view == 1)

    def finish(self, item: tuple[int, int, int], prepared: ClassSample) -> ClassSample:
        return prepared

    def to_inputs(
        self, iteration: int, samples: list[ClassSample]
    ) -> tuple[int, list[ClassSample], Tensor]:
        """Return a batch with the network's inputs: (images or regions, 3, size, size)."""
        pixels = torch.cat([sample.pixels for sample in samples])
        return iteration, samples, self.inputs.normalise(pixels.to(self.device))

    def _crop(
        self,
        iteration: int,
        index: int,
        label: int,
        boxes: Tensor,
        pixels: Tensor,
        *,
        mirrored: bool,
    ) -> ClassSample:
        config, size = self._config, self._config.data.image_size
        seed = digest_seed(config.seed, iteration, index, CROP)
        photo = config.recipe.photo
        crop, inside = random_crop(pixels, boxes, photo, size, seed, mirrored=mirrored)
        # Anchors may reach beyond the crop, as most that are as large as its objects do.
        chosen = anchor_targets(
            self._anchors,
            inside,
            size,
            size,
            config.detector.sampled_anchors,
            generator(config.seed, iteration, index, "anchors"),
            inside=False,
        )
        return ClassSample(label, crop[None], chosen.indices, chosen.labels > 0, chosen.deltas)

    def _regions(
        self,
        iteration: int,
        index: int,
        label: int,
        boxes: Tensor,
        pixels: Tensor,
        *,
        mirrored: bool,
    ) -> ClassSample:
        config = self._config
        assert self.given is not None
        given = self.given(index)[: config.detector.num_proposals]
        if mirrored:
            width = pixels.shape[2]
            pixels, boxes, given = pixels.flip(-1), mirror(boxes, width), mirror(given, width)
        low, high = config.detector.background
        chosen = region_targets(
            given,
            boxes,
            torch.zeros(len(boxes), dtype=torch.int64),
            config.detector.sampled_regions,
            (low, high),
            generator(config.seed, iteration, index, "regions"),
        )
        crops = warped(pixels, chosen.boxes, config.data.image_size)
        none = torch.zeros(0, dtype=torch.int64)
        return ClassSample(label, crops, none, chosen.labels > 0, chosen.deltas)
