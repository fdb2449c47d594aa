"""Shortcuts: the paths around a block's residual branch.

Shapes: N images, C channels, H x W pixels. A shortcut maps (N, C_in, H, W) to
(N, C_out, H / stride, W / stride).

    [He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
    [He16]  Identity Mappings in Deep Residual Networks, arXiv:1603.05027
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.models.layers import BatchNorm, conv1x1

DROPOUT = 0.5  # [He16] Sec. 3.1: "at a ratio of 0.5"


class PadShortcut(nn.Module):
    """Option A if dimensions grow: subsample, then append zero channels ([He15] Sec. 4.1).

    It has no weights. The zeros follow the old channels, as in fb.resnet.torch.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:  # a pool of one pixel: its gradient is one pass, a slice's is four
            x = F.avg_pool2d(x, 1, self.stride)
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


class Scale(nn.Module):
    """lambda x: constant scaling ([He16] Fig. 2b)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Gate(nn.Module):
    """g(x) = sigmoid(W x + b), a 1x1 convolution ([He16] Sec. 3.1, after Highway Networks).

    Each output element has its own gate: the convolution has the block's stride and C_out channels.
    It has no batch norm, which would cancel the bias.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, bias: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride)
        self.initial_bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(x))


class GatedShortcut(nn.Module):
    """(1 - g(x)) h(x): shortcut-only gating ([He16] Fig. 2d); h is option A."""

    def __init__(self, gate: Gate, shortcut: nn.Module) -> None:
        super().__init__()
        self.gate, self.shortcut = gate, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return (1 - self.gate(x)) * self.shortcut(x)  # type: ignore[no-any-return]


def projection(
    in_channels: int, out_channels: int, stride: int, *, batch_norm: bool = True
) -> nn.Module:
    """Build a projection shortcut, W_s of [He15] Eq. 2: a 1x1 convolution and batch norm.

    The pre-activation networks' released code has it without batch norm.
    """
    conv = conv1x1(in_channels, out_channels, stride)
    if not batch_norm:
        return conv
    return nn.Sequential(OrderedDict(conv=conv, bn=BatchNorm(out_channels)))


def option_a(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Build option A: the identity, zero-padded if dimensions grow ([He15] Table 3)."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return PadShortcut(in_channels, out_channels, stride)


def projects(option: str, in_channels: int, out_channels: int, stride: int) -> bool:
    """Return whether an option projects here: `C` always, `B` if dimensions grow."""
    grows = in_channels != out_channels or stride > 1
    return option == "C" or (option == "B" and grows)


def build_shortcut(
    option: str, in_channels: int, out_channels: int, stride: int, gate_bias: float | None
) -> nn.Module:
    """Build the shortcut h of a block y = f(F(x) + h(x)), which has no activation before it.

    Args:
        option: A setting of `model.shortcut`.
        in_channels: C_in.
        out_channels: C_out.
        stride: The block's stride.
        gate_bias: The initial bias of a shortcut-only gate; None for all other options.
    """
    shape = in_channels, out_channels, stride
    if projects(option, *shape):
        return projection(*shape)
    shortcut = option_a(*shape)
    if gate_bias is not None:
        return GatedShortcut(Gate(*shape, gate_bias), shortcut)
    if option == "dropout":
        return nn.Sequential(shortcut, nn.Dropout(DROPOUT))
    return shortcut
