"""The settings of a network, which the papers vary.

[He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
[He16]   Identity Mappings in Deep Residual Networks, arXiv:1603.05027
[Xie17]  Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431
"""

import re
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, OmegaConf

from resnet_repro.errors import require, require_choice

SHORTCUTS = ("none", "A", "B", "C", "constant", "exclusive_gate", "shortcut_gate", "dropout")
ACTIVATIONS = ("original", "bn_after", "relu_before", "relu_pre", "full_pre")
LAYERS = {"single": 1, "basic": 2, "bottleneck": 3}  # per block
STRIDES_IN = ("1x1", "3x3")
IMAGENET_DEPTHS = (18, 34, 50, 101, 152, 200)


@dataclass(kw_only=True)
class ModelConfig:
    """A network.

    Attributes:
        name: Key in the registry: `cifar_resnet` ([He15] Sec. 4.2), `imagenet_resnet` (4.1) or
            `vgg16`, the detectors' baseline (App. A), which takes only `width`.
        depth: Number of weight layers: 2 plus a multiple of 3 blocks' layers on CIFAR (6n+2, 9n+2
            or 3n+2); 18, 34, 50, 101, 152 or 200 on ImageNet.
        block: On CIFAR `basic` (null; two layers), `bottleneck` (three) or `single` (one, [He16]
            Table 3); on ImageNet null, since the depth determines it.
        shortcut: `none` (plain network), option `A`, `B` or `C` ([He15] Table 3), or one of [He16]
            Table 1: `constant` scaling, `exclusive_gate`, `shortcut_gate`, `dropout`. The 1x1
            convolution of that table is `C`.
        scales: Factors of the shortcut and of the branch, for constant scaling.
        gate_bias: Initial bias of a gate.
        activation: The order of batch norm, ReLU and addition ([He16] Fig. 4): `original` (a),
            `bn_after` (b), `relu_before` (c), `relu_pre` (d) or `full_pre` (e).
        width: Channels of the first stage: 16 on CIFAR, 64 on ImageNet and for ResNeXt and VGG.
        stride_in: The downsampling layer of a bottleneck: the first `1x1` as in [He15], or the
            `3x3` as in fb.resnet.torch and torchvision.
        cardinality: Groups of the bottleneck's 3x3 and channels per group in the first stage,
            `32x4d` ([Xie17] Table 1); null: one group of `width` channels.
        num_classes: Outputs of the last layer; taken from the data.
    """

    name: str = MISSING
    depth: int = MISSING
    block: str | None = None
    shortcut: str = MISSING
    scales: list[float] | None = None
    gate_bias: float | None = None
    activation: str = "original"
    width: int = MISSING
    stride_in: str = "1x1"
    cardinality: str | None = None
    num_classes: int = MISSING

    def __post_init__(self) -> None:
        require_choice("model.shortcut", self.shortcut, SHORTCUTS)
        require_choice("model.activation", self.activation, ACTIVATIONS)
        require_choice("model.stride_in", self.stride_in, STRIDES_IN)
        require(self.width >= 1, f"model.width={self.width}: must be at least 1")
        require(self.num_classes >= 1, f"data.num_classes={self.num_classes}: must be at least 1")
        if self.name == "cifar_resnet":
            require_choice("model.block", self.block or "basic", tuple(LAYERS))
            unit = 3 * LAYERS[self.block or "basic"]
            below = unit * max(1, (self.depth - 2) // unit) + 2
            require(
                self.depth == below,
                f"model.depth={self.depth} is not {unit}n+2; the nearest are {below} and "
                f"{below + unit}",
            )
            if self.block == "basic":
                self.block = None  # null and basic are the same network, with one id
        elif self.name == "imagenet_resnet":
            choices = ", ".join(map(str, IMAGENET_DEPTHS))
            require(
                self.depth in IMAGENET_DEPTHS, f"model.depth={self.depth}: must be one of {choices}"
            )
            require(self.block is None, f"model.block={self.block}: set null; depth determines it")
        elif self.name == "vgg16":
            require(self.depth == 16, f"model.depth={self.depth}: vgg16 has 16 layers")
            require(
                (self.block, self.shortcut, self.activation) == (None, "none", "original"),
                "model.name=vgg16 has no blocks: set model.block=null, model.shortcut=none and "
                "model.activation=original",
            )
        require(
            self.stride_in == "1x1" or self.has_bottlenecks,
            f"model.stride_in={self.stride_in}: only bottleneck networks support it",
        )
        require(
            self.cardinality is None
            or re.fullmatch(r"[1-9]\d*x[1-9]\d*d", self.cardinality) is not None,
            f"model.cardinality={self.cardinality}: must be GROUPSxCHANNELSd, such as 32x4d",
        )
        require(
            self.cardinality is None or self.has_bottlenecks,
            f"model.cardinality={self.cardinality}: only bottleneck networks support it",
        )
        if self.cardinality is not None:
            channels = int(self.cardinality.rstrip("d").split("x")[1])
            require(
                self.width * channels >= 64,
                f"model.cardinality={self.cardinality}: groups of {channels} channels at width 64 "
                f"have none at model.width={self.width}",
            )
        self._check_shortcut()

    @property
    def has_dropout(self) -> bool:
        """Whether the network draws random numbers in training."""
        return self.shortcut == "dropout" or self.name == "vgg16"

    @property
    def has_blocks(self) -> bool:
        """Whether the network consists of blocks, residual or plain."""
        return self.name != "vgg16"

    @property
    def has_bottlenecks(self) -> bool:
        """Whether the blocks are bottlenecks: 1x1, 3x3 and 1x1 convolutions."""
        deep = self.name == "imagenet_resnet" and self.depth >= 50
        return self.block == "bottleneck" or deep

    def _check_shortcut(self) -> None:
        """Require the settings a shortcut needs, and refuse those of other shortcuts."""
        gated = self.shortcut in ("exclusive_gate", "shortcut_gate")
        require(
            (self.scales is not None) == (self.shortcut == "constant")
            and len(self.scales or (0, 0)) == 2,
            "model.scales: needed with model.shortcut=constant and only there: factors of the "
            "shortcut and of the branch, such as 'model.scales=[0.5,0.5]'",
        )
        require(
            (self.gate_bias is not None) == gated,
            "model.gate_bias: needed with model.shortcut=exclusive_gate or shortcut_gate and only "
            "there, such as -6",
        )
        require(
            self.activation == "original" or self.shortcut in ("A", "B", "C"),
            f"model.activation={self.activation} and model.shortcut={self.shortcut}: "
            f"activations other than original need shortcut A, B or C",
        )


def _open() -> Any:  # noqa: ANN401 - OmegaConf's, in place of a dict
    """Return settings that take any key: which there are, the network's own dataclass says."""
    return OmegaConf.create({}, flags={"struct": False})


@dataclass(kw_only=True)
class ModelSection(ModelConfig):
    """What `model` holds in a configuration: the settings of ours, and those of other networks.

    Attributes:
        settings: The settings of a network that is not one of ours.
    """

    settings: dict[str, Any] = field(default_factory=_open)
