"""A photograph as a detector sees it, at one scale or at several.

Shapes: R regions, K classes, D channels of a region; boxes (..., 4) are x1 y1 x2 y2 in pixels of
the photograph.

[He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
[Ren15b] Object Detection Networks on Convolutional Feature Maps, arXiv:1504.06066
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from resnet_repro.detection.anchors import grid
from resnet_repro.detection.boxes import REGION_STD, clip, decode, resized
from resnet_repro.detection.network import Detector
from resnet_repro.detection.proposer import proposals
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.detector import DetectorConfig

REGION_AREA = 224**2  # pixels; a region is pooled at the scales where its area is nearest to it
CANDIDATES = 6000  # proposals before suppression in a test, as in py-faster-rcnn


@dataclass(frozen=True)
class Photograph:
    """A photograph that can be resized.

    Attributes:
        height: Pixels of the photograph as stored.
        width: Likewise.
        image_at: Returns the network's input, (3, height, width), of a given height and width, on
            the detector's device.
    """

    height: int
    width: int
    image_at: Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Level:
    """A photograph's map at one scale.

    Attributes:
        maps: (1, C, h, w).
        height: Pixels of the resized photograph.
        width: Likewise.
        scale: The factor from pixels of the photograph to those.
    """

    maps: Tensor
    height: int
    width: int
    scale: float


class ImagePyramid:
    """A detector and its maps of a photograph; each map is computed when it is first needed.

    Proposals are made at the scale of training, `data.image_size`, and the context of regions is
    the whole photograph at that scale, whatever the scales that regions are pooled at.

    Args:
        detector: The network, in eval mode.
        photograph: The photograph.
        config: The detector's settings.
        data: The data set's settings, for the scale of training.
        sizes: Shorter sides at which regions are pooled, pixels, increasing.
        given: (m, 4), proposals of another network, best first, on the detector's device; None: the
            detector's own.
    """

    def __init__(
        self,
        detector: Detector,
        photograph: Photograph,
        config: DetectorConfig,
        data: DataConfig,
        sizes: Sequence[int],
        given: Tensor | None = None,
    ) -> None:
        assert data.boxes is not None
        self._detector, self._photograph, self._config = detector, photograph, config
        self._base, self._longest, self._sizes = data.image_size, data.boxes.longest, sizes
        self._given = given
        self._levels: dict[int, Level] = {}

    @torch.inference_mode()
    def propose(self, before: int | None, after: int) -> tuple[Tensor, Tensor]:
        """Return the detector's own proposals, best first: boxes (m, 4) and scores (m,).

        Args:
            before: Number of the best before non-maximum suppression; None: all.
            after: Number of the best that remain.
        """
        level = self._level(self._base)
        logits, deltas = self._detector.propose(level.maps)
        rows, columns = level.maps.shape[-2:]
        anchors = grid(rows, columns, self._config.anchors, level.maps.device)
        boxes, scores = proposals(
            logits[0],
            deltas[0],
            anchors,
            level.height,
            level.width,
            self._config.min_size * level.scale,
            before,
            after,
        )
        # The resized photograph's height and width are rounded.
        return self._clip(boxes / level.scale), scores

    def regions(self, number: int) -> Tensor:
        """Return the best proposals, the given ones or the detector's own: (m, 4)."""
        return self.propose(CANDIDATES, number)[0] if self._given is None else self._given[:number]

    @torch.inference_mode()
    def classify(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return what regions (R, 4) are, and where: probabilities (R, K) and boxes (R, K, 4)."""
        if not len(regions):
            nothing = regions.new_zeros(0, self._detector.num_classes, 4)
            return nothing[..., 0], nothing
        image_of = torch.zeros(len(regions), dtype=torch.int64, device=regions.device)
        logits, deltas = self._detector.classify(self._merged(regions), self._context, image_of)
        probabilities = logits.softmax(dim=1)[:, 1:]
        deltas = deltas[:, 1:] * deltas.new_tensor(REGION_STD)
        return probabilities, self._clip(decode(regions[:, None], deltas))

    def _clip(self, boxes: Tensor) -> Tensor:
        return clip(boxes, self._photograph.height, self._photograph.width)

    def _level(self, size: int) -> Level:
        if size not in self._levels:
            photograph = self._photograph
            longest = round(self._longest * size / self._base)
            height, width, scale = resized(photograph.height, photograph.width, size, longest)
            maps = self._detector.body(photograph.image_at(height, width)[None])
            self._levels[size] = Level(maps, height, width, scale)
        return self._levels[size]

    def _pooled(self, size: int, regions: Tensor) -> Tensor:
        """Return the values of regions (R, 4) at one scale: (R, D)."""
        level = self._level(size)
        image = regions.new_zeros(len(regions), 1)
        return self._detector.pooled(level.maps, torch.cat([image, regions * level.scale], dim=1))

    def _merged(self, regions: Tensor) -> Tensor:
        """Return the values of regions (R, 4), the larger of two scales each: (R, D)."""
        if len(self._sizes) == 1:
            return self._pooled(self._sizes[0], regions)
        chosen = nearest_scales(regions, [self._level(size).scale for size in self._sizes])
        merged: Tensor | None = None
        for number, size in enumerate(self._sizes):
            rows = (chosen == number).any(dim=1).nonzero().flatten()
            if not len(rows):
                continue
            values = self._pooled(size, regions[rows])
            if merged is None:
                merged = values.new_full((len(regions), values.shape[1]), -torch.inf)
            merged[rows] = merged[rows].maximum(values)
        assert merged is not None
        return merged

    @cached_property
    def _context(self) -> Tensor | None:
        """The values of the whole photograph as one region: (1, D)."""
        if not self._detector.context:
            return None
        level = self._level(self._base)
        whole = level.maps.new_tensor([[0, 0, 0, level.width, level.height]], dtype=torch.float32)
        return self._detector.pooled(level.maps, whole)


def nearest_scales(regions: Tensor, scales: Sequence[float]) -> Tensor:
    """Return the two adjacent scales at which each region is pooled: (R, 2), nearest first.

    Those at which its area is nearest to that of the images that the classifier was trained on
    ([He15] App. B pools at two adjacent scales, following [Ren15b], and does not give the rule;
    this one is that of SPP-net and of Fast R-CNN's code).

    Args:
        regions: (R, 4).
        scales: Increasing factors from pixels of the photograph, at least two.
    """
    sides = regions[:, 2:] - regions[:, :2]
    factors = sides.new_tensor(scales).square()
    # The area grows with the scale, so that the second nearest is a neighbour of the nearest.
    distances = (sides[:, :1] * sides[:, 1:] * factors - REGION_AREA).abs()
    return distances.sort(dim=1, stable=True).indices[:, :2]
