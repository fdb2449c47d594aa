"""Blocks: a residual branch, and the shortcut it is added to.

Shapes: N images, C channels, H x W pixels; every block maps (N, C_in, H, W) to
(N, C_out, H / stride, W / stride).

    [He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
    [Xie17]  Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.models.layers import BatchNorm, conv1x1, conv3x3
from resnet_repro.models.shortcuts import build_shortcut


class PlainBlock(nn.Module):
    """y = relu(F(x)): the plain network's layers, grouped as in its residual twin."""

    def __init__(self, residual: nn.Module) -> None:
        super().__init__()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x), inplace=True)


class ResidualBlock(nn.Module):
    """y = relu(F(x) + shortcut(x)): [He15] Eq. 1 and 2, Fig. 2."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.residual, self.shortcut = residual, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x), inplace=True)


def basic_branch(in_channels: int, width: int, stride: int) -> nn.Sequential:
    """Build the residual function of two 3x3 layers ([He15] Fig. 5 left); C_out = width."""
    return nn.Sequential(
        OrderedDict(
            conv1=conv3x3(in_channels, width, stride),
            bn1=BatchNorm(width),
            relu1=nn.ReLU(inplace=True),
            conv2=conv3x3(width, width),
            bn2=BatchNorm(width),
        )
    )


def bottleneck_branch(
    in_channels: int, width: int, stride: int, stride_in: str, cardinality: str | None = None
) -> nn.Sequential:
    """Build the residual function 1x1, 3x3, 1x1 ([He15] Fig. 5 right); C_out = 4 width.

    With a cardinality it is [Xie17]'s, as one grouped convolution (their Fig. 3c).

    Args:
        in_channels: C_in.
        width: Channels of the 3x3, where it is one group.
        stride: Of the branch.
        stride_in: The layer that carries it: the first `1x1` ([He15]'s released models) or the
            `3x3` (fb.resnet.torch, torchvision's "v1.5").
        cardinality: `32x4d`: 32 groups of 4 channels where `width` is 64, of more in proportion.
    """
    out_channels, groups = 4 * width, 1
    if cardinality is not None:
        groups, channels = (int(number) for number in cardinality.rstrip("d").split("x"))
        width = groups * (width * channels // 64)
    stride1, stride2 = (stride, 1) if stride_in == "1x1" else (1, stride)
    return nn.Sequential(
        OrderedDict(
            conv1=conv1x1(in_channels, width, stride1),
            bn1=BatchNorm(width),
            relu1=nn.ReLU(inplace=True),
            conv2=conv3x3(width, width, stride2, groups),
            bn2=BatchNorm(width),
            relu2=nn.ReLU(inplace=True),
            conv3=conv1x1(width, out_channels),
            bn3=BatchNorm(out_channels),
        )
    )


def build_block(
    *,
    bottleneck: bool,
    in_channels: int,
    width: int,
    stride: int,
    shortcut: str,
    stride_in: str,
    cardinality: str | None = None,
) -> PlainBlock | ResidualBlock:
    """Build a block: its branch, and its shortcut where the network has any.

    Args:
        bottleneck: Three layers, C_out = 4 width; else two layers, C_out = width.
        in_channels: C_in.
        width: Channels of the branch's 3x3 layers.
        stride: Of the block.
        shortcut: `none` for a plain block, else an option of `build_shortcut`.
        stride_in: See `bottleneck_branch`.
        cardinality: See `bottleneck_branch`.
    """
    residual = (
        bottleneck_branch(in_channels, width, stride, stride_in, cardinality)
        if bottleneck
        else basic_branch(in_channels, width, stride)
    )
    if shortcut == "none":
        return PlainBlock(residual)
    out_channels = 4 * width if bottleneck else width
    return ResidualBlock(residual, build_shortcut(shortcut, in_channels, out_channels, stride))
