"""Anchors are py-faster-rcnn's."""

import pytest
import torch

from resnet_repro.detection.anchors import grid

# The comment in py-faster-rcnn's generate_anchors.py: first position, inclusive pixels.
NINE = [
    (-84, -40, 99, 55),
    (-176, -88, 191, 103),
    (-360, -184, 375, 199),
    (-56, -56, 71, 71),
    (-120, -120, 135, 135),
    (-248, -248, 263, 263),
    (-36, -80, 51, 95),
    (-80, -168, 95, 183),
    (-168, -344, 183, 359),
]


def test_the_nine_of_the_first_position_are_py_faster_rcnns_to_the_pixel():
    first = grid(1, 1, [8.0, 16.0, 32.0])
    assert first.dtype == torch.float32
    assert (first - torch.tensor([0, 0, 1, 1])).tolist() == [list(map(float, n)) for n in NINE]


@pytest.mark.parametrize("scales", [[8.0, 16.0, 32.0], [4.0, 8.0, 16.0, 32.0], [1.5, 2.0, 4.0]])
def test_positions_are_16_pixels_apart_row_by_row(scales):
    found = grid(3, 2, scales)
    num = 3 * len(scales)
    assert found.shape == (3 * 2 * num, 4)
    by_position = found.view(3, 2, num, 4)
    for row in range(3):
        for column in range(2):
            shift = torch.tensor([16.0 * column, 16 * row, 16 * column, 16 * row])
            assert torch.equal(by_position[row, column], by_position[0, 0] + shift)
    centres = (by_position[0, 0, :, :2] + by_position[0, 0, :, 2:]) / 2
    assert (centres == 8).all()
    # Those of three scales are among those of four.
    sizes = (by_position[0, 0, :, 2:] - by_position[0, 0, :, :2]).tolist()
    assert [23 * scales[0], 12 * scales[0]] in sizes and [11 * scales[0], 22 * scales[0]] in sizes
