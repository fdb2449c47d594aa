"""What kernels compute, for each kind of device that has some."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """The state and the settings of a batch norm.

    Attributes:
        weight, bias: (C,), gamma and beta.
        mean, var: (C,), the running averages, which training moves in place.
        momentum: The weight of this mini-batch in the averages: the mean of its groups' statistics.
        eps: Added to the variances.
        relu: Whether a ReLU follows.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    var: Tensor
    momentum: float
    eps: float
    relu: bool


class Kernels(Protocol):
    """An implementation of the operator for some devices and memory formats."""

    name: str

    def takes(self, x: Tensor) -> bool:
        """Return whether maps of this device, precision and memory format can be computed."""

    def forward(
        self, x: Tensor, added: Tensor | None, norm: Norm, num_groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return y, and the groups' means and reciprocal standard deviations, (G, C)."""

    def evaluate(self, x: Tensor, added: Tensor | None, norm: Norm) -> Tensor:
        """Return y with the running averages as statistics."""

    def backward(
        self,
        grads: tuple[Tensor, Tensor | None],
        x: Tensor,
        y: Tensor | None,
        weight: Tensor,
        statistics: tuple[Tensor, Tensor],
        *,
        adds: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return the gradients of x, weight, bias and, if it `adds`, of the added maps.

        Args:
            grads: The gradients of y, by its one or two uses (`again`).
            x: The input.
            y: The output where a ReLU made it, else None.
            weight: (C,).
            statistics: Means and reciprocal standard deviations, as `forward` returned them.
            adds: Whether maps were added.
        """

    def augment(
        self,
        pixels: Tensor,
        indices: Tensor,
        views: Tensor,
        mean: Tensor,
        std: Tensor,
        padding: int,
    ) -> Tensor:
        """Return training views, (B, C, H, W), float32: normalised, cropped and mirrored.

        Args:
            pixels: (N, C, H, W), uint8, all images.
            indices: (B,), int64, the images.
            views: (B,), int64, their views, as in `data.images.crop_and_flip`.
            mean: (C, H, W), subtracted.
            std: (C,), divided by.
            padding: Zeros on each side, from which crops are taken.
        """
