"""Anchors: the boxes that proposals are offsets from, as in py-faster-rcnn to the pixel.

Boxes are as in `boxes`: x1, y1, x2, y2 in pixels, with an exclusive end.
"""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

STRIDE = 16  # pixels of an image per position of the map that anchors are at
RATIOS = (0.5, 1.0, 2.0)  # height / width: arXiv:1506.01497, Sec. 3.1.1


def grid(
    height: int, width: int, scales: Sequence[float], device: torch.device | None = None
) -> Tensor:
    """Return the anchors at all positions of a map: (height * width * A, 4), float32.

    Rows, columns and the A anchors of a position follow one another in this order.

    Args:
        height: That of the map, not of the image.
        width: Likewise.
        scales: Scales of the anchors, in strides of 16 pixels.
        device: The device of the result.
    """
    rows, columns = (
        torch.arange(size, dtype=torch.float32, device=device) * STRIDE for size in (height, width)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack((x, y, x, y), dim=-1).view(-1, 1, 4)
    return (shifts + of_a_position(scales).to(shifts.device)).view(-1, 4)


def of_a_position(scales: Sequence[float]) -> Tensor:
    """Return the anchors of the first position: (A, 4); ratios first to last, scales within each.

    All have the centre of the position's square of 16 pixels. The sides of the smallest are
    rounded before they are scaled, so that areas differ a little between ratios.
    """
    centre, found = STRIDE / 2, []
    for ratio in RATIOS:
        width = round(STRIDE / sqrt(ratio))
        height = round(width * ratio)
        for scale in scales:
            x, y = width * scale / 2, height * scale / 2
            found.append((centre - x, centre - y, centre + x, centre + y))
    return torch.tensor(found, dtype=torch.float32)
