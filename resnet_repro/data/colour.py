"""Colour augmentation of a whole batch at once, on its device.

Shapes: B images of H x W pixels, float, pixels in 0..1.
"""

import random
from functools import cache

import torch
from torch import Tensor

from resnet_repro.settings.recipe import PhotoConfig

BRIGHTNESS, CONTRAST, SATURATION = range(3)
GREY = (0.299, 0.587, 0.114)


def draw_colour(draw: random.Random, photo: PhotoConfig) -> list[float]:
    """Draw one image's nine random numbers: order, factors, alphas (see `recolour`)."""
    order = [BRIGHTNESS, CONTRAST, SATURATION]
    draw.shuffle(order)
    factors = [draw.uniform(1 - photo.jitter, 1 + photo.jitter) for _ in order]
    alphas = [draw.gauss(0, photo.pca) for _ in range(3)]
    return [*map(float, order), *factors, *alphas]


def recolour(
    images: Tensor, colours: Tensor, photo: PhotoConfig, components: Tensor | None
) -> Tensor:
    """Apply a recipe's colour augmentation, if it has any.

    Args:
        images: (B, 3, H, W).
        colours: (B, 9), the numbers from `draw_colour`.
        photo: The strength of the augmentation.
        components: (3, 3), the training set's colour components; needed if `photo.pca` is above 0.
    """
    if photo.jitter:
        images = jitter(images, colours[:, :3].long(), colours[:, 3:6])
    if photo.pca:
        assert components is not None, "a recipe with pca has components in its statistics"
        images = pca_shift(images, colours[:, 6:], components)
    return images


def jitter(images: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, in any order, as fb.resnet.torch does.

    Each is a blend, f x + (1 - f) t: with black (brightness), with the image's mean grey
    (contrast), with its grey version (saturation). Nothing is clamped.

    Args:
        images: (B, 3, H, W).
        order: (B, 3), int64, the changes in the order in which they are applied.
        factors: (B, 3), the factors f of brightness, contrast, saturation.
    """
    weights = _grey(images.device)
    for kind in order.unbind(dim=1):
        grey = (images * weights).sum(dim=1, keepdim=True)
        kind = kind.view(-1, 1, 1, 1)
        target = torch.where(kind == CONTRAST, grey.mean(dim=(2, 3), keepdim=True), grey)
        target = torch.where(kind == BRIGHTNESS, 0.0, target)
        images = torch.lerp(target, images, factors.gather(1, kind.flatten(1))[..., None, None])
    return images


@cache
def _grey(device: torch.device) -> Tensor:
    """Return the channels' weights, (1, 3, 1, 1); cached, as the copy to a GPU synchronises."""
    return torch.tensor(GREY, device=device).view(1, 3, 1, 1)


def pca_shift(images: Tensor, alphas: Tensor, components: Tensor) -> Tensor:
    """Shift all pixels of an image along the principal components of the colours.

    AlexNet's colour augmentation, which [He15] Sec. 3.4 calls the standard one.

    Args:
        images: (B, 3, H, W).
        alphas: (B, 3), the shift along each component.
        components: (3, 3), the components as columns, each times its variance.
    """
    return images + (alphas @ components.T)[..., None, None]
