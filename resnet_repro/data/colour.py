"""Random colours, for a whole batch at once, on its device.

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
    """Draw the nine numbers of one image's colours: order, factors, alphas (see `recolour`)."""
    order = [BRIGHTNESS, CONTRAST, SATURATION]
    draw.shuffle(order)
    factors = [draw.uniform(1 - photo.jitter, 1 + photo.jitter) for _ in order]
    alphas = [draw.gauss(0, photo.pca) for _ in range(3)]
    return [*map(float, order), *factors, *alphas]


def recolour(
    images: Tensor, colours: Tensor, photo: PhotoConfig, components: Tensor | None
) -> Tensor:
    """Change the colours of images as a recipe asks for; as they are where it asks for nothing.

    Args:
        images: (B, 3, H, W).
        colours: (B, 9), of `draw_colour`.
        photo: How strongly.
        components: (3, 3), of the training set's colours, where `photo.pca` is above 0.
    """
    if photo.jitter:
        images = jitter(images, colours[:, :3].long(), colours[:, 3:6])
    if photo.pca:
        assert components is not None, "the statistics hold components where the recipe has pca"
        images = pca_shift(images, colours[:, 6:], components)
    return images


def jitter(images: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, in any order, as fb.resnet.torch does.

    Each is a blend, f x + (1 - f) t: with black (brightness), with the image's mean grey
    (contrast), with its grey version (saturation). Nothing is clamped.

    Args:
        images: (B, 3, H, W).
        order: (B, 3), which comes first, second and third, int64.
        factors: (B, 3), f of brightness, contrast, saturation.
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
    """Return the weights of the channels, (1, 3, 1, 1): brought to a GPU once, which waits."""
    return torch.tensor(GREY, device=device).view(1, 3, 1, 1)


def pca_shift(images: Tensor, alphas: Tensor, components: Tensor) -> Tensor:
    """Shift all pixels of an image along the principal components of the colours.

    AlexNet's colour augmentation, which [He15] Sec. 3.4 calls the standard one.

    Args:
        images: (B, 3, H, W).
        alphas: (B, 3).
        components: (3, 3), the components as columns, each times its variance.
    """
    return images + (alphas @ components.T)[..., None, None]
