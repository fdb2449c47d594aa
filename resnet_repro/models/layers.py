"""Layers of which the papers' networks are made.

Shapes: N images, C channels, H x W pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that does not count mini-batches: one small kernel less at each call.

    The count, which stays 0, serves only torch's cumulative average, `momentum=None`.
    Shape: (N, C, H, W), kept.

    Attributes:
        updates_averages: Whether training moves the averages, of all batch norms; see `frozen_averages`.
    """

    updates_averages = True

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum if self.updates_averages else 0.0,  # type: ignore[arg-type]
            self.eps,
        )


@contextmanager
def frozen_averages() -> Iterator[None]:
    """Leave the averages of all batch norms as they are, while something is computed again."""
    BatchNorm.updates_averages = False
    try:
        yield
    finally:
        BatchNorm.updates_averages = True


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Build a 3x3 convolution that keeps the map's size at stride 1; batch norm holds its bias."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Build a 1x1 convolution; batch norm holds its bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
