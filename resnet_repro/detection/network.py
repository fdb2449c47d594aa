"""Faster R-CNN on the networks of the papers.

Shapes: N images, R regions of them, K classes, A anchors per position of a map, C channels of a map
and D values of a region.

[He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385, App. A and B
[Ren15]  Faster R-CNN, arXiv:1506.01497
"""

import torch
from torch import Tensor, nn

from resnet_repro.detection.anchors import RATIOS, STRIDE
from resnet_repro.detection.batch_norm import freeze_batch_norm
from resnet_repro.detection.pooling import pool_regions
from resnet_repro.detection.precision import in_fp32
from resnet_repro.detection.proposer import Proposer
from resnet_repro.models.resnet import ResNet, imagenet_resnet
from resnet_repro.models.vgg import POOLED, Vgg, vgg16
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.model import ModelConfig


class Detector(nn.Module):
    """A body that makes a map of an image, a proposer of regions of it, and a head for each region.

    The layers of the body and the head have the names that they have in the classifier, so that its
    weights are loaded by name. Batch norm is constant.

    Args:
        channels: C.
        values: D.
        num_classes: K, without background.
        config: The detector's settings.

    Attributes:
        stride: Pixels of an image per position of its map.
        num_classes: K.
        num_anchors: A.
        context: Whether regions are classified together with the whole image.
    """

    stride = STRIDE

    def __init__(
        self, channels: int, values: int, num_classes: int, config: DetectorConfig
    ) -> None:
        super().__init__()
        self.num_classes, self.context = num_classes, config.context
        self.num_anchors = len(config.anchors) * len(RATIOS)
        self.proposer = Proposer(channels, self.num_anchors)
        inputs = 2 * values if config.context else values
        self.scores = nn.Linear(inputs, num_classes + 1)
        self.deltas = nn.Linear(inputs, 4 * (num_classes + 1))
        self._initialise()

    def _initialise(self) -> None:
        """Draw the new layers' weights: [Ren15] Sec. 3.1, and Fast R-CNN for those of regions."""
        for module in (*self.proposer.children(), self.scores, self.deltas):
            nn.init.normal_(module.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.deltas.weight, std=0.001)

    def body(self, images: Tensor) -> Tensor:
        """Return the maps (N, C, h, w) of images (N, 3, H, W)."""
        raise NotImplementedError

    def propose(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and offsets of all anchors; see `Proposer`."""
        return self.proposer(maps)  # type: ignore[no-any-return]

    def pooled(self, maps: Tensor, regions: Tensor) -> Tensor:
        """Return the values of regions: (R, D).

        Args:
            maps: (N, C, h, w).
            regions: (R, 5): the position of the image among the N, x1, y1, x2, y2 in its pixels.
        """
        raise NotImplementedError

    def classify(
        self, vectors: Tensor, context: Tensor | None, image_of: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what regions are, and where.

        Args:
            vectors: (R, D), the values of regions.
            context: (N, D), those of whole images; None if the detector has no context.
            image_of: (R,), the position of a region's image among the N, int64.

        Returns:
            Logits (R, K + 1), background first, and offsets (R, K + 1, 4), float32. The offsets
            are in units of `boxes.REGION_STD`; those of background mean nothing.
        """
        if context is not None:
            vectors = torch.cat((vectors, context[image_of]), dim=1)
        with in_fp32(vectors):  # in bf16 the scores of many boxes would be equal
            scores, deltas = self.scores(vectors.float()), self.deltas(vectors.float())
        return scores, deltas.view(len(vectors), self.num_classes + 1, 4)

    def trains(self, step: str, frozen: str) -> None:
        """Set which weights have gradients.

        Args:
            step: `proposals`, `regions` or `joint`; see `DetectorConfig`.
            frozen: `early` or `body`: the layers that keep their weights.
        """
        self.requires_grad_(False)
        shared, early, head = self._parts()
        trained = [module for module in shared if frozen == "early" and module not in early]
        if step in ("proposals", "joint"):
            trained.append(self.proposer)
        if step in ("regions", "joint"):
            trained += [*head, self.scores, self.deltas]
        for module in trained:
            module.requires_grad_(True)

    def _parts(self) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
        """Return the modules of the body, the early ones of these, and those of the head."""
        raise NotImplementedError


class ResNetDetector(Detector):
    """Faster R-CNN on a ResNet: conv5_x is computed for each region ([He15] App. A).

    Regions are pooled to 14x14, as conv5_x halves them to the 7x7 that it makes of an image of 224
    pixels.
    """

    def __init__(self, network: ResNet, num_classes: int, config: DetectorConfig) -> None:
        values = network.fc.in_features
        super().__init__(values // 2, values, num_classes, config)
        self.stem, self.stages, self.pool = network.stem, network.stages, network.pool
        freeze_batch_norm(self)

    def body(self, images: Tensor) -> Tensor:
        return self.stages[:-1](self.stem(images))  # type: ignore[no-any-return]

    def pooled(self, maps: Tensor, regions: Tensor) -> Tensor:
        x = pool_regions(maps, regions, 14, self.stride)
        return self.pool(self.stages[-1](x)).flatten(1)  # type: ignore[no-any-return]

    def _parts(self) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
        *shared, head = self.stages
        return [self.stem, *shared], [self.stem, shared[0]], [head]


class VggDetector(Detector):
    """Faster R-CNN on VGG-16: the hidden layers are computed for each region ([Ren15]).

    Poolings round sizes up, as Caffe's do, so that the map reaches to the ends of the image.
    """

    def __init__(self, network: Vgg, num_classes: int, config: DetectorConfig) -> None:
        values = network.fc.in_features
        super().__init__(values // 8, values, num_classes, config)
        self.stages, self.hidden = network.stages, network.hidden
        self.pool = nn.MaxPool2d(2, ceil_mode=True)

    def body(self, images: Tensor) -> Tensor:
        x = self.stages[0](images)
        for stage in self.stages[1:]:
            x = stage(self.pool(x))
        return x  # type: ignore[no-any-return]

    def pooled(self, maps: Tensor, regions: Tensor) -> Tensor:
        return self.hidden(pool_regions(maps, regions, POOLED, self.stride).flatten(1))  # type: ignore[no-any-return]

    def _parts(self) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
        stages = list(self.stages)
        return stages, stages[:2], [self.hidden]


def build_detector(model: ModelConfig, detector: DetectorConfig) -> Detector:
    """Build a detector, with newly initialised weights.

    Args:
        model: The classifier that it is built on; its number of classes is K.
        detector: The detector's settings.
    """
    if model.name == "vgg16":
        return VggDetector(vgg16(model), model.num_classes, detector)
    return ResNetDetector(imagenet_resnet(model), model.num_classes, detector)
