"""Crops, sizes and warped regions: boxes stay where their objects are."""

from dataclasses import replace

import pytest
import torch

from resnet_repro.data.photos import View
from resnet_repro.detection.localisation.localise import best_proposals
from resnet_repro.detection.localisation.looks import boxes_in, looks_at, random_crop, warped
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig

HEIGHT, WIDTH = 60, 90
BOX = torch.tensor([[30.0, 20, 60, 50]])
CROP = EvaluationConfig(protocol="one_crop", sizes=[120], crop=100)


def photograph():
    """Return a black photograph whose object is white."""
    pixels = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    x1, y1, x2, y2 = BOX[0].int().tolist()
    pixels[:, y1:y2, x1:x2] = 255
    return pixels


def white(pixels):
    """Return the box of what is white."""
    rows, columns = (pixels[0] > 127).nonzero().T
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize(
    "test", [CROP, replace(CROP, protocol="multi_scale", sizes=[45, 60, 120, 121])]
)
def test_boxes_of_a_look_are_placed_in_the_photograph(test):
    looks = looks_at(photograph(), test)
    assert len(looks) == len(test.sizes)
    for look in looks:
        found = look.to_photograph(white(look.pixels))
        torch.testing.assert_close(found, BOX[0], rtol=0, atol=0.8)
    if test is CROP:
        assert looks[0].pixels.shape == (3, 100, 100)
        assert (looks[0].top, looks[0].left) == (10, 40)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_objects_of_a_training_crop_are_where_they_are_seen(mirrored):
    photo = PhotoConfig(scale=[64, 64])
    for seed in range(20):
        crop, boxes = random_crop(photograph(), BOX, photo, 64, seed, mirrored=mirrored)
        assert crop.shape == (3, 64, 64)
        seen = boxes[0].clamp(0, 64)
        torch.testing.assert_close(white(crop), seen, rtol=0, atol=1.0)


def test_boxes_reach_beyond_a_crop_and_those_outside_are_left_out():
    view = View(0, 0, HEIGHT, WIDTH, HEIGHT, WIDTH, 0, 40, 0)  # columns 40 to 80
    boxes = torch.cat([BOX, torch.tensor([[0.0, 0, 40, 60], [70, 0, 90, 10]])])
    assert boxes_in(boxes, view, 40).tolist() == [[-10, 20, 20, 50], [30, 0, 50, 10]]
    mirrored = boxes_in(boxes, view._replace(mirrored=1), 40)
    assert mirrored.tolist() == [[20, 20, 50, 50], [-10, 0, 10, 10]]


def test_regions_are_warped_whole():
    regions = torch.cat([BOX, torch.tensor([[0.0, 0, 30, 20], [89.9, 59.9, 90, 60]])])
    made = warped(photograph(), regions, 16)
    assert made.shape == (3, 3, 16, 16)
    assert made[0].min() == 255
    assert made[1].max() == made[2].max() == 0
    assert warped(photograph(), regions[:0], 16).shape == (0, 3, 16, 16)


def test_proposals_of_a_class_are_the_best_that_differ():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [5, 5, 5.5, 20], [20, 20, 30, 30]])
    scores = torch.tensor([4.0, 3, 2, 1])
    assert best_proposals(boxes, scores, 200).tolist() == boxes[[0, 3]].tolist()
    assert best_proposals(boxes, scores, 1).tolist() == boxes[:1].tolist()
