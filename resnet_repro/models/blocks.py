"""Blocks: a residual branch plus a shortcut.

Shapes: N images, C channels, H x W pixels; every block maps (N, C_in, H, W) to
(N, C_out, H / stride, W / stride).

    [He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
    [He16]   Identity Mappings in Deep Residual Networks, arXiv:1603.05027
    [Xie17]  Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from resnet_repro.kernels.batch_norm import again
from resnet_repro.models.layers import BatchNorm, conv1x1, conv3x3
from resnet_repro.models.shortcuts import (
    Gate,
    Scale,
    build_shortcut,
    option_a,
    projection,
    projects,
)
from resnet_repro.settings.model import ModelConfig


class Branch(nn.Sequential):
    """F(x), the residual function: convolutions, with batch norm and ReLU between them.

    Given h, it returns F(x) + h. If its last layer is batch norm, that layer adds h, and a ReLU of
    it follows the addition.
    """

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        *layers, last = self
        for layer in layers:
            x = layer(x)
        if h is None:
            return last(x)  # type: ignore[no-any-return]
        return last(x, h) if isinstance(last, BatchNorm) else last(x) + h  # type: ignore[no-any-return]


class PlainBlock(nn.Module):
    """y = relu(F(x)): a plain network's layers, grouped as in its residual counterpart."""

    def __init__(self, residual: Branch) -> None:
        super().__init__()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """y = f(F(x) + h(x)): [He15] Eq. 1 and 2, Fig. 2; f follows the addition, usually a ReLU."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.residual, self.shortcut, self.after = residual, shortcut, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.residual(x) + self.shortcut(x))  # type: ignore[no-any-return]


class OriginalBlock(nn.Module):
    """y = relu(F(x) + h(x)), a `ResidualBlock` with F's last layer, addition and ReLU in one."""

    def __init__(self, residual: Branch, shortcut: nn.Module) -> None:
        super().__init__()
        self.residual, self.shortcut = residual, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x, self.shortcut(again(x)))  # type: ignore[no-any-return]


class PreActivationBlock(nn.Module):
    """y = F(a(x)) + x: [He16] Fig. 4(d, e); the activation a is on the branch only."""

    def __init__(self, before: nn.Module, residual: Branch, shortcut: nn.Module) -> None:
        super().__init__()
        self.before, self.residual, self.shortcut = before, residual, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(self.before(x), self.shortcut(x))  # type: ignore[no-any-return]


class SharedActivationBlock(PreActivationBlock):
    """y = F(a) + h(a), a = a(x): a pre-activation block with a projection activates both paths.

    As in the released code of [He16], and in the first block, which the stem's activation precedes.
    """

    def forward(self, x: Tensor) -> Tensor:
        a = self.before(x)
        return self.residual(a, self.shortcut(again(a)))  # type: ignore[no-any-return]


class ExclusiveGateBlock(nn.Module):
    """y = relu(g(x) F(x) + (1 - g(x)) h(x)): exclusive gating ([He16] Fig. 2c)."""

    def __init__(
        self, residual: nn.Module, shortcut: nn.Module, gate: Gate, after: nn.Module
    ) -> None:
        super().__init__()
        self.residual, self.shortcut, self.gate, self.after = residual, shortcut, gate, after

    def forward(self, x: Tensor) -> Tensor:
        g = self.gate(x)
        return self.after(g * self.residual(x) + (1 - g) * self.shortcut(x))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Order:
    """The positions of batch norm and ReLU in a block ([He16] Fig. 4).

    Attributes:
        before: The layers before the branch's first convolution.
        end: The layers after its last convolution; the others have batch norm, then ReLU.
        after: The layers after the addition.
    """

    before: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


ORDERS = {
    "original": Order(end=("bn",), after=("relu",)),  # Fig. 4(a)
    "bn_after": Order(after=("bn", "relu")),  # (b) BN after addition
    "relu_before": Order(end=("bn", "relu")),  # (c) ReLU before addition
    "relu_pre": Order(before=("relu",), end=("bn",)),  # (d) ReLU-only pre-activation
    "full_pre": Order(before=("bn", "relu")),  # (e) full pre-activation
}


def activation(layers: tuple[str, ...], channels: int, *, inplace: bool = True) -> nn.Module:
    """Build batch norm and ReLU in a given order, or the identity if there are none.

    Args:
        layers: The layers: `bn`, `relu`, or both in this order.
        channels: C.
        inplace: Whether a ReLU may overwrite its input; false if a shortcut needs that.
    """
    if layers == ("relu",):
        return nn.ReLU(inplace=inplace)
    if not layers:
        return nn.Identity()
    return nn.Sequential(OrderedDict(bn=BatchNorm(channels, relu="relu" in layers)))


def branch(layers: list[nn.Conv2d], end: tuple[str, ...]) -> Branch:
    """Build a residual function: convolutions, batch norm and ReLU between them, `end`."""
    made: dict[str, nn.Module] = {}
    for number, conv in enumerate(layers, start=1):
        made[f"conv{number}"] = conv
        following = ("bn", "relu") if number < len(layers) else end
        if following:
            made[f"bn{number}"] = BatchNorm(conv.out_channels, relu="relu" in following)
    return Branch(OrderedDict(made))


def single_layers(in_channels: int, width: int, stride: int) -> list[nn.Conv2d]:
    """Return one 3x3 layer: the 1-layer units of [He16] Table 3; C_out = width."""
    return [conv3x3(in_channels, width, stride)]


def basic_layers(in_channels: int, width: int, stride: int) -> list[nn.Conv2d]:
    """Return two 3x3 layers ([He15] Fig. 5 left); C_out = width."""
    return [conv3x3(in_channels, width, stride), conv3x3(width, width)]


def bottleneck_layers(
    in_channels: int, width: int, stride: int, stride_in: str, cardinality: str | None = None
) -> list[nn.Conv2d]:
    """Return the layers 1x1, 3x3, 1x1 ([He15] Fig. 5 right); C_out = 4 width.

    With a cardinality they are [Xie17]'s, as one grouped convolution (their Fig. 3c).

    Args:
        in_channels: C_in.
        width: The number of channels of an ungrouped 3x3.
        stride: The branch's stride.
        stride_in: The layer with the stride: the first `1x1` ([He15]'s released models) or the
            `3x3` (fb.resnet.torch, torchvision's "v1.5").
        cardinality: `32x4d` is 32 groups of 4 channels at width 64, in proportion at other widths.
    """
    out_channels, groups = 4 * width, 1
    if cardinality is not None:
        groups, channels = (int(number) for number in cardinality.rstrip("d").split("x"))
        width = groups * (width * channels // 64)
    stride1, stride2 = (stride, 1) if stride_in == "1x1" else (1, stride)
    return [
        conv1x1(in_channels, width, stride1),
        conv3x3(width, width, stride2, groups),
        conv1x1(width, out_channels),
    ]


def build_block(
    config: ModelConfig, block: str, in_channels: int, width: int, stride: int, *, is_first: bool
) -> nn.Module:
    """Build a block: its branch, and its shortcut if the network has shortcuts.

    Args:
        config: The network's settings.
        block: `single`, `basic` or `bottleneck`: one, two or three layers.
        in_channels: C_in.
        width: The number of channels of the branch's 3x3 layers.
        stride: The block's stride.
        is_first: Whether it is the network's first block, whose input the stem has activated.
    """
    order, option = ORDERS[config.activation], config.shortcut
    if block == "bottleneck":
        layers = bottleneck_layers(in_channels, width, stride, config.stride_in, config.cardinality)
    else:
        layers = (basic_layers if block == "basic" else single_layers)(in_channels, width, stride)
    out_channels = layers[-1].out_channels
    shape = in_channels, out_channels, stride
    if option == "none":
        return PlainBlock(branch(layers, order.end + order.after))
    if order.before:
        residual = branch(layers, order.end)
        before = nn.Identity() if is_first else activation(order.before, in_channels, inplace=False)
        if projects(option, *shape):
            # Full pre-activation has batch norm before the branch, so the projection has none.
            shortcut = projection(*shape, batch_norm="bn" not in order.before)
            return SharedActivationBlock(before, residual, shortcut)
        return PreActivationBlock(before, residual, option_a(*shape))
    after = activation(order.after, out_channels)
    if option == "exclusive_gate":
        assert config.gate_bias is not None
        gate = Gate(*shape, config.gate_bias)
        return ExclusiveGateBlock(branch(layers, order.end), option_a(*shape), gate, after)
    if config.scales is not None:
        paths = option_a(*shape), branch(layers, order.end)
        shortcut, scaled = (
            nn.Sequential(path, Scale(factor))
            for path, factor in zip(paths, config.scales, strict=True)
        )
        return ResidualBlock(scaled, shortcut, after)
    shortcut = build_shortcut(option, *shape, config.gate_bias)
    if order == ORDERS["original"]:
        return OriginalBlock(branch(layers, order.end + order.after), shortcut)
    return ResidualBlock(branch(layers, order.end), shortcut, after)
