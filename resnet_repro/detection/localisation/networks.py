"""The networks of localisation: each class has its own scores and offsets ([He15] App. C).

Shapes: N images, K classes, A anchors per position of a map, C channels of a map, n samples.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

import torch
from torch import Tensor, nn

from resnet_repro.detection.anchors import RATIOS
from resnet_repro.detection.batch_norm import freeze_batch_norm
from resnet_repro.detection.precision import in_fp32
from resnet_repro.detection.proposer import WIDTH
from resnet_repro.models.resnet import ResNet, imagenet_resnet
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.model import ModelConfig


class ClassAnchors(nn.Module):
    """A 3x3 layer with ReLU, and for each anchor and class a binary logit and four offsets.

    Most outputs of a map are never needed: those of some anchors or of some classes are computed.

    Args:
        channels: C.
        num_anchors: A.
        num_classes: K.
    """

    def __init__(self, channels: int, num_anchors: int, num_classes: int) -> None:
        super().__init__()
        self.num_anchors, self.num_classes = num_anchors, num_classes
        self.conv = nn.Conv2d(channels, WIDTH, 3, padding=1)
        # Of each position, as 1x1 convolutions are.
        self.scores = nn.Linear(WIDTH, num_anchors * num_classes)
        self.deltas = nn.Linear(WIDTH, num_anchors * num_classes * 4)
        for module in (self.conv, self.scores, self.deltas):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def hidden(self, maps: Tensor) -> Tensor:
        """Return the values that scores and offsets are linear in: (N, C, h, w) -> (N, D, h, w)."""
        return self.conv(maps).relu_()  # type: ignore[no-any-return]

    def at(
        self, hidden: Tensor, images: Tensor, places: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logits (n,) and offsets (n, 4) of some anchors, for one class each, float32.

        Args:
            hidden: (N, D, h, w).
            images: (n,), the positions of the anchors' images among the N.
            places: (n,), the anchors, in the order of `anchors.grid`.
            labels: (n,), the classes.
        """
        values = hidden.flatten(2)[images, :, places // self.num_anchors].float()
        scores, score_bias, deltas, delta_bias = self._weights()
        chosen = places % self.num_anchors, labels
        with in_fp32(hidden):
            logits = (values * scores[chosen]).sum(dim=1) + score_bias[chosen]
            moved = torch.einsum("ad,akd->ak", values, deltas[chosen]) + delta_bias[chosen]
        return logits, moved

    def of_classes(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of all anchors of an image for some classes, float32.

        Args:
            hidden: (1, D, h, w).
            labels: (c,), the classes.

        Returns:
            Logits (c, h * w * A) and offsets (c, h * w * A, 4), in the order of `anchors.grid`.
        """
        values = hidden[0].flatten(1).T.float()  # (positions, D)
        scores, score_bias, deltas, delta_bias = (each[:, labels] for each in self._weights())
        with in_fp32(hidden):
            logits = torch.einsum("pd,acd->cpa", values, scores) + score_bias.T[:, None]
            moved = torch.einsum("pd,ackd->cpak", values, deltas)
            moved = moved + delta_bias.transpose(0, 1)[:, None]
        return logits.flatten(1), moved.flatten(1, 2)

    def _weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weights and biases by anchor and class: (A, K, D), (A, K), (A, K, 4, D), ..."""
        shape = self.num_anchors, self.num_classes
        assert self.scores.bias is not None
        assert self.deltas.bias is not None
        return (
            self.scores.weight.view(*shape, WIDTH),
            self.scores.bias.view(*shape),
            self.deltas.weight.view(*shape, 4, WIDTH),
            self.deltas.bias.view(*shape, 4),
        )


class LocalisationNetwork(nn.Module):
    """A ResNet with the names of layers that it has as a classifier, and constant batch norm.

    Args:
        network: The classifier.
        num_stages: The number of its stages that are used.
    """

    def __init__(self, network: ResNet, num_stages: int) -> None:
        super().__init__()
        self.stem, self.stages = network.stem, network.stages[:num_stages]
        freeze_batch_norm(self)

    def trains(self, frozen: str) -> None:
        """Set which weights have gradients: all but those of `frozen`, `early` or `body`."""
        self.requires_grad_(True)
        for module in (self.stem, *(self.stages[:1] if frozen == "early" else self.stages[:3])):
            module.requires_grad_(False)


class ClassProposer(LocalisationNetwork):
    """The region proposal network with outputs for each class, on the map of conv4_x.

    Args:
        network: The classifier.
        num_classes: K.
        config: The settings of the anchors.
    """

    def __init__(self, network: ResNet, num_classes: int, config: DetectorConfig) -> None:
        super().__init__(network, len(network.stages) - 1)
        num_anchors = len(config.anchors) * len(RATIOS)
        self.proposer = ClassAnchors(network.fc.in_features // 2, num_anchors, num_classes)

    def hidden(self, images: Tensor) -> Tensor:
        """Return what the outputs are linear in: (N, 3, H, W) -> (N, D, h, w)."""
        return self.proposer.hidden(self.stages(self.stem(images)))


class ClassRegions(LocalisationNetwork):
    """R-CNN: the whole network on each region, warped, with outputs for each class.

    Shape: regions (n, 3, H, W), classes (n,) -> logits (n,) and offsets (n, 4), float32, in units
    of `boxes.REGION_STD`.

    Args:
        network: The classifier.
        num_classes: K.
    """

    def __init__(self, network: ResNet, num_classes: int) -> None:
        super().__init__(network, len(network.stages))
        self.pool, values = network.pool, network.fc.in_features
        self.scores = nn.Linear(values, num_classes)
        self.deltas = nn.Linear(values, 4 * num_classes)
        for module, std in ((self.scores, 0.01), (self.deltas, 0.001)):
            nn.init.normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)

    def forward(self, regions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        values = self.pool(self.stages(self.stem(regions))).flatten(1)
        rows = torch.arange(len(labels), device=labels.device)
        with in_fp32(values):  # in bf16 the scores of many boxes would be equal
            logits, deltas = self.scores(values.float()), self.deltas(values.float())
        return logits[rows, labels], deltas.unflatten(1, (-1, 4))[rows, labels]


def build_localiser(model: ModelConfig, config: DetectorConfig) -> ClassProposer | ClassRegions:
    """Build the network of a step of localisation, newly initialised, as the step trains it."""
    network = imagenet_resnet(model)
    made: ClassProposer | ClassRegions
    if config.step == "localisation":
        made = ClassProposer(network, model.num_classes, config)
    else:
        made = ClassRegions(network, model.num_classes)
    made.trains(config.frozen)
    return made
