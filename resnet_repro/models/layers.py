"""The basic layers of the papers' networks.

Shapes: N images, C channels, H x W pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that does not count mini-batches, which saves a small kernel per call.

    The count, which stays 0, is used only by torch's cumulative average, `momentum=None`.
    Shape: (N, C, H, W), unchanged.

    Attributes:
        updates_averages: Whether training updates the running averages, for all instances; see
            `frozen_averages`.
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
    """Freeze the running averages of all batch norms, for a recomputation."""
    BatchNorm.updates_averages = False
    try:
        yield
    finally:
        BatchNorm.updates_averages = True


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Build a 3x3 convolution, padded by 1, without bias, as batch norm has one."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Build a 1x1 convolution, without bias, as batch norm has one."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
