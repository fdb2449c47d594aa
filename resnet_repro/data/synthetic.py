"""Procedural images: ten classes of figures, for the quickstart and for tests.

They need no download, train on a laptop's CPU in a minute, and are hard enough that depth matters.
The class is the figure: place, size, rotation, colours, contrast, shading, a distracting blob and
noise are random and independent of the class. A figure keeps its class when flipped or shifted by a
few pixels, so the papers' flips and padded crops apply.

Shapes: N images of S x S pixels; every tensor before the last line broadcasts to (N, 3, S, S).
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

# A figure is a signed distance, negative inside, at points (x, y) of its own frame: the origin is
# its centre, the unit its radius. It is elementwise: the output has the inputs' shape.
Figure = Callable[[Tensor, Tensor], Tensor]


def _disc(x: Tensor, y: Tensor, radius: float = 0.9) -> Tensor:
    return torch.hypot(x, y) - radius


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return _disc(x, y, 0.75).abs() - 0.22


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(_disc(x, y, 1.0), -_disc(x - 0.55, y, 0.8))


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _square(x: Tensor, y: Tensor) -> Tensor:
    return _box(x, y, 0.75, 0.75)


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(math.sqrt(0.75) * x.abs() + 0.5 * y, -y) - 0.55


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_box(x, y, 1.0, 0.28), _box(x, y, 0.28, 1.0))


def _star(x: Tensor, y: Tensor) -> Tensor:
    """Fold the five points onto half of one, then take the distance to its only edge."""
    tip, notch, fold = 1.15, 0.48, math.pi / 5
    angle = (torch.remainder(torch.atan2(y, x), 2 * fold) - fold).abs()
    along, across = torch.hypot(x, y) * torch.cos(angle), torch.hypot(x, y) * torch.sin(angle)
    edge = notch * math.cos(fold) - tip, notch * math.sin(fold)
    return ((along - tip) * edge[1] - across * edge[0]) / math.hypot(*edge)


def _bands(t: Tensor, period: float) -> Tensor:
    """Bands half a period wide across the t axis."""
    return ((torch.remainder(t / period, 1.0) - 0.5).abs() - 0.25) * period


def _stripes(x: Tensor, y: Tensor) -> Tensor:
    return _bands(x, 0.8)


def _checkerboard(x: Tensor, y: Tensor) -> Tensor:
    columns, rows = _bands(x, 1.1), _bands(y, 1.1)
    return torch.maximum(torch.minimum(columns, rows), -torch.maximum(columns, rows))


def _spiral(x: Tensor, y: Tensor) -> Tensor:
    pitch = 0.8
    turns = torch.atan2(y, x) / (2 * math.pi)
    return torch.maximum(_bands(torch.hypot(x, y) - pitch * turns, pitch), _disc(x, y, 1.1))


FIGURES: dict[str, Figure] = {
    "disc": _disc,
    "ring": _ring,
    "crescent": _crescent,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "stripes": _stripes,
    "checkerboard": _checkerboard,
    "spiral": _spiral,
}
CLASS_NAMES: tuple[str, ...] = tuple(FIGURES)


class _Random:
    """Independent uniform numbers for each of N images, from one seed.

    Always on the CPU and in float64: if two machines' sines differ in the last bit, the final
    rounding to uint8 hides it.
    """

    def __init__(self, num_images: int, seed: int) -> None:
        self.num_images = num_images
        self.generator = Generator().manual_seed(seed)

    def labels(self) -> Tensor:
        """(N,): the same number of each class (plus or minus one), shuffled."""
        return torch.randperm(self.num_images, generator=self.generator) % len(FIGURES)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(N, *shape), by default (N, 1, 1, 1): one number per image."""
        size = (self.num_images, *(shape or (1, 1, 1)))
        draw = torch.rand(size, generator=self.generator, dtype=torch.float64)
        return low + (high - low) * draw

    def colour(self, brightness: Tensor) -> Tensor:
        """(N, 3, 1, 1): any hue and saturation, the brightest channel near `brightness`."""
        thirds = torch.arange(3, dtype=torch.float64).view(3, 1, 1) / 3
        wheel = 0.5 + 0.5 * torch.cos(2 * math.pi * (self.uniform(0, 1) + thirds))
        return brightness * (1 - self.uniform(0.2, 0.85) * wheel)

    def direction(self) -> tuple[Tensor, Tensor]:
        """Cosine and sine of any angle."""
        angle = self.uniform(0, 2 * math.pi)
        return torch.cos(angle), torch.sin(angle)


def _coverage(distance_pixels: Tensor) -> Tensor:
    """The fraction of each pixel inside the figure: anti-aliasing one pixel wide."""
    return (0.5 - distance_pixels).clamp(0, 1)


def _draw_figures(labels: Tensor, x: Tensor, y: Tensor, random: _Random) -> Tensor:
    """Each image's figure as a mask in 0..1, (N, 1, S, S), at any place, size and rotation."""
    size = x.numel()
    radius = size * random.uniform(0.32, 0.45)
    reach = size / 2 - 0.85 * radius  # cuts off a figure's tips at most
    x = (x - reach * random.uniform(-1, 1)) / radius
    y = (y - reach * random.uniform(-1, 1)) / radius
    cos, sin = random.direction()
    x, y = cos * x + sin * y, cos * y - sin * x
    distance = torch.empty_like(x)
    for label, figure in enumerate(FIGURES.values()):
        rows = labels == label
        distance[rows] = figure(x[rows], y[rows])
    return _coverage(distance * radius)


def generate(num_images: int, image_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a labelled set of images, a pure function of the arguments.

    Args:
        num_images: N, shared equally among the ten classes.
        image_size: S in pixels; below 16 a person cannot tell the classes apart.
        seed: The seed of all random numbers. Training and test sets need different seeds.

    Returns:
        Images, (N, 3, S, S) uint8, and labels, (N,) int64 indices into CLASS_NAMES.
    """
    random = _Random(num_images, seed)
    labels = random.labels()
    x = (torch.arange(image_size, dtype=torch.float64) - (image_size - 1) / 2).view(1, 1, 1, -1)
    y = x.transpose(2, 3)
    figures = _draw_figures(labels, x, y, random)

    # Dark on light or light on dark, equally often, so that brightness does not reveal the class.
    dark, light = random.uniform(0.15, 0.4), random.uniform(0.8, 1.0)
    swap = random.uniform(0, 1) < 0.5
    front, back = torch.where(swap, dark, light), torch.where(swap, light, dark)

    cos, sin = random.direction()
    ramp = ((x * cos + y * sin) / image_size + 0.5).clamp(0, 1)
    images = torch.lerp(random.colour(back), random.colour(back), ramp)
    images = torch.lerp(images, random.colour(front), figures * random.uniform(0.6, 1.0))

    blob_x, blob_y = (t - image_size * random.uniform(-0.5, 0.5) for t in (x, y))
    blob = _coverage(torch.hypot(blob_x, blob_y) - image_size * random.uniform(0.05, 0.12))
    images = torch.lerp(images, random.colour(random.uniform(0.2, 1.0)), blob)

    noise = random.uniform(-1, 1, 3, image_size, image_size) * random.uniform(0, 0.12)
    return ((images + noise).clamp(0, 1) * 255).round().to(torch.uint8), labels
