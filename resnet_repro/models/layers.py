"""The basic layers of the papers' networks.

Shapes: N images, C channels, H x W pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from resnet_repro.kernels import Kernels, Norm
from resnet_repro.kernels.batch_norm import batch_norm, batch_norm_of_averages


class BatchNorm(nn.BatchNorm2d):
    """Batch norm, and the addition and the ReLU that follow it: y = relu(bn(x) + h).

    The three are one operator (`kernels.batch_norm`), as all of them read and write the same maps.
    It does not count mini-batches, which saves a small kernel per call: the count, which stays 0,
    is used only by torch's cumulative average, `momentum=None`.
    Shape: (N, C, H, W), unchanged.

    Args:
        channels: C.
        relu: Whether a ReLU follows.

    Attributes:
        group_size: In training, the number of images that share statistics; None: all.
        kernels: The implementation; None: plain torch.
        updates_averages: Whether training updates the running averages, for all instances; see
            `frozen_averages`.
    """

    updates_averages = True

    def __init__(self, channels: int, *, relu: bool = False) -> None:
        super().__init__(channels)
        self.relu = relu
        self.group_size: int | None = None
        self.kernels: Kernels | None = None

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        if not self.training:
            return batch_norm_of_averages(x, self._norm(), added, self.kernels)
        num_groups = max(1, len(x) // (self.group_size or len(x)))
        return batch_norm(x, self._norm(), added, num_groups=num_groups, kernels=self.kernels)

    def normalised(self, x: Tensor) -> Tensor:
        """Return bn(x), without addition and ReLU, with the running averages as statistics."""
        return batch_norm_of_averages(x, self._norm()._replace(relu=False))

    def _norm(self) -> Norm:
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum = self.momentum if self.updates_averages else 0.0
        assert momentum is not None
        state = self.weight, self.bias, self.running_mean, self.running_var
        return Norm(*state, momentum, self.eps, self.relu)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, relu={self.relu}"  # type: ignore[no-untyped-call]


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
