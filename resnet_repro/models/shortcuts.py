"""Shortcuts: the paths that carry a block's input around its residual branch.

Shapes: N images, C channels, H x W pixels.

    [He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.models.layers import BatchNorm, conv1x1


class PadShortcut(nn.Module):
    """Option A where dimensions grow: subsample, then append zero channels ([He15] Sec. 4.1).

    It has no weights. The zeros come after the old channels, as in fb.resnet.torch.
    Shape: (N, C_in, H, W) -> (N, C_out, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Build a projection shortcut, W_s of [He15] Eq. 2: a 1x1 convolution and batch norm."""
    return nn.Sequential(
        OrderedDict(
            conv=conv1x1(in_channels, out_channels, stride),
            bn=BatchNorm(out_channels),
        )
    )


def build_shortcut(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Build the shortcut of a block by [He15] Table 3's options.

    Args:
        option: `A`: identity, zero-padded where dimensions grow; `B`: projection where they grow,
            identity elsewhere; `C`: projection everywhere.
        in_channels: C_in.
        out_channels: C_out.
        stride: Of the block.
    """
    same_dimensions = in_channels == out_channels and stride == 1
    if option == "C" or (option == "B" and not same_dimensions):
        return projection(in_channels, out_channels, stride)
    return nn.Identity() if same_dimensions else PadShortcut(in_channels, out_channels, stride)
