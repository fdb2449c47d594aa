"""What kernels compute, for each kind of device that has some."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor


class Norm(NamedTuple):
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


@dataclass(frozen=True)
class Pool:
    """Images in the device's memory, and how they become inputs of the network; all contiguous.

    Attributes:
        pixels: (N, C, H, W), uint8.
        labels: (N,), int64.
        mean: (C, H, W), subtracted from pixels in 0..1.
        std: (C,), which then divides them.
        padding: The zeros on each side of an image, of which a view is a crop.
    """

    pixels: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    padding: int


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

    def augment(self, images: Pool, indices: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """Return training views, (B, C, H, W), float32, in channels-last memory format; and labels.

        They have the bits of `Inputs.normalise` and `crop_and_flip` in `data`.

        Args:
            images: The images to choose from.
            indices: (B,), int64, which images.
            views: (B,), int64, their crops and whether they are mirrored.
        """
