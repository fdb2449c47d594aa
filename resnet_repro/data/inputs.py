"""Normalisation: pixels minus the training set's mean, and its statistics.

Shapes: N images, C = 3 channels, H x W pixels.

    [He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """Statistics of the training images, float32, pixels in 0..1.

    Attributes:
        mean: (C, H, W), the mean image ([He15] Sec. 3.4, 4.2), or (C, 1, 1), channel means.
        std: (C, 1, 1), the channels' standard deviations; None if inputs are not scaled.
        components: (3, 3), the principal components of the colours as columns, each times its
            variance (AlexNet's colour augmentation); None if the recipe does not use them.
    """

    mean: Tensor
    std: Tensor | None = None
    components: Tensor | None = None

    def to(self, device: torch.device) -> "Inputs":
        """Return the statistics on a device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return Inputs(self.mean.to(device), move(self.std), move(self.components))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Turn pixels into the network's input: (N, C, H, W) uint8 or 0..1 float -> float32.

        The mean image is resized to the pixels' size if that differs (multi-scale testing).
        """
        mean, size = self.mean, pixels.shape[-2:]
        if mean.shape[-2:] not in ((1, 1), size):
            mean = F.interpolate(mean[None], size, mode="bilinear", align_corners=False)[0]
        inputs = pixels if pixels.is_floating_point() else pixels.float().div_(255)
        inputs = inputs.sub_(mean)
        return inputs if self.std is None else inputs.div_(self.std)


class Sums:
    """Exact sums over the pixels of training images; sums of several processes can be added.

    Args:
        image_size: H = W.
        colours: Also sum the products of channels, for standard deviations and components.
    """

    def __init__(self, image_size: int, *, colours: bool) -> None:
        self._colours = colours
        self.pixels = torch.zeros(3, image_size, image_size, dtype=torch.int64)
        self.products = torch.zeros(3, 3, dtype=torch.int64)
        self.num_images = torch.zeros((), dtype=torch.int64)

    def add(self, batches: Iterable[Tensor]) -> None:
        """Add images, (N, 3, H, W) uint8, on any device."""
        for batch in batches:
            self.num_images += len(batch)
            self.pixels += batch.sum(dim=0, dtype=torch.int64).cpu()
            if self._colours:
                # Integers below 2^53 are exact in float64.
                values = batch.cpu().double().transpose(0, 1).flatten(1)
                self.products += (values @ values.T).to(torch.int64)

    def tensors(self) -> list[Tensor]:
        """Return the sums, to be added in place."""
        return [self.pixels, self.products, self.num_images]

    def inputs(self, kind: str, *, pca: bool) -> Inputs:
        """Return the statistics that a recipe uses.

        Args:
            kind: The recipe's `input`: `pixel_mean` or `channels`.
            pca: Whether the colour augmentation needs the components.
        """
        num_images, (_, height, width) = int(self.num_images), self.pixels.shape
        count = num_images * height * width
        mean = self.pixels.double() / (255 * num_images)
        channel_mean = mean.mean(dim=(1, 2), keepdim=True)
        colour = channel_mean.flatten()
        covariance = self.products.double() / (255**2 * count) - colour[:, None] * colour
        components = None
        if pca:
            variances, vectors = torch.linalg.eigh(covariance)
            components = (vectors * variances).float()
        if kind == "pixel_mean":
            return Inputs(mean.float(), components=components)
        std = covariance.diagonal().sqrt().view(3, 1, 1)
        return Inputs(channel_mean.float(), std.float(), components)
