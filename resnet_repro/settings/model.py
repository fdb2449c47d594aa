"""The settings of a network: what the papers vary.

[He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
[He16]   Identity Mappings in Deep Residual Networks, arXiv:1603.05027
[Xie17]  Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431
"""

import re
from dataclasses import dataclass

from omegaconf import MISSING

from resnet_repro.errors import require, require_choice

SHORTCUTS = ("none", "A", "B", "C", "constant", "exclusive_gate", "shortcut_gate", "dropout")
ACTIVATIONS = ("original", "bn_after", "relu_before", "relu_pre", "full_pre")
LAYERS = {"single": 1, "basic": 2, "bottleneck": 3}  # of a block
STRIDES_IN = ("1x1", "3x3")
IMAGENET_DEPTHS = (18, 34, 50, 101, 152, 200)


@dataclass(kw_only=True)
class ModelConfig:
    """A network.

    Attributes:
        name: Its key in the registry: `cifar_resnet` ([He15] Sec. 4.2), `imagenet_resnet` (4.1).
        depth: Number of weight layers: on CIFAR 2 and a multiple of 3 blocks' layers (6n+2, 9n+2 or
            3n+2); 18, 34, 50, 101, 152 or 200 on ImageNet.
        block: On CIFAR `basic` (null; two layers), `bottleneck` (three) or `single` (one, [He16]
            Table 3); on ImageNet the depth says it.
        shortcut: `none` (the plain network), or option `A`, `B` or `C` ([He15] Table 3); those of
            [He16] Table 1: `constant` scaling, `exclusive_gate`, `shortcut_gate`, `dropout`. Their
            1x1 convolution is `C`.
        scales: Of constant scaling: the factors of the shortcut and of the branch.
        gate_bias: With which a gate begins.
        activation: The order of batch norm, ReLU and addition ([He16] Fig. 4): `original` (a),
            `bn_after` (b), `relu_before` (c), `relu_pre` (d) or `full_pre` (e).
        width: Channels of the first stage; 16 on CIFAR, 64 on ImageNet and for ResNeXt.
        stride_in: The bottleneck's layer that halves the map: the first `1x1` as in [He15], or the
            `3x3` as in fb.resnet.torch and torchvision.
        cardinality: Groups of the bottleneck's 3x3 and channels of each in the first stage, `32x4d`
            ([Xie17] Table 1); null for one group of `width`.
        num_classes: Outputs of the last layer; follows the data.
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
        require(self.width >= 1, f"model.width={self.width}: at least 1 channel")
        require(self.num_classes >= 2, f"data.num_classes={self.num_classes}: at least 2 classes")
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
                self.block = None  # one network, one name
        elif self.name == "imagenet_resnet":
            choices = ", ".join(map(str, IMAGENET_DEPTHS))
            require(self.depth in IMAGENET_DEPTHS, f"model.depth={self.depth}: it can be {choices}")
            require(self.block is None, f"model.block={self.block}: the depth says it; say null")
        bottleneck = self.block == "bottleneck" or (
            self.name == "imagenet_resnet" and self.depth >= 50
        )
        require(
            self.stride_in == "1x1" or bottleneck,
            f"model.stride_in={self.stride_in}: only bottleneck networks have the choice",
        )
        require(
            self.cardinality is None
            or re.fullmatch(r"[1-9]\d*x[1-9]\d*d", self.cardinality) is not None,
            f"model.cardinality={self.cardinality}: groups and channels of each, such as 32x4d",
        )
        require(
            self.cardinality is None or bottleneck,
            f"model.cardinality={self.cardinality}: only bottleneck networks have it",
        )
        self._check_shortcut()

    def _check_shortcut(self) -> None:
        """Require what a shortcut needs, and nothing that it does not have."""
        gated = self.shortcut in ("exclusive_gate", "shortcut_gate")
        require(
            (self.scales is not None) == (self.shortcut == "constant")
            and len(self.scales or (0, 0)) == 2,
            "model.scales: two factors, of the shortcut and of the branch, with "
            "model.shortcut=constant alone, such as 'model.scales=[0.5,0.5]'",
        )
        require(
            (self.gate_bias is not None) == gated,
            "model.gate_bias: with shortcut exclusive_gate or shortcut_gate alone, such as -6",
        )
        require(
            self.activation == "original" or self.shortcut in ("A", "B", "C"),
            f"model.activation={self.activation} and model.shortcut={self.shortcut}: other orders "
            f"than the original have shortcuts A, B or C",
        )
