"""Pooling of regions is Caffe's, to the bit."""

import math

import pytest
import torch

from resnet_repro.detection.detect import detect
from resnet_repro.detection.network import build_detector
from resnet_repro.detection.pooling import pool_regions
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.model import ModelConfig
from tests.support.detectors import losses, pyramid, settings
from tests.support.training import DEVICES


def c_round(x):
    """Round as C does: halves away from zero."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def caffe(maps, region, size):
    """Return what roi_pooling_layer.cpp of Fast R-CNN's Caffe computes; corners inclusive."""
    image, *corners = region.tolist()
    x1, y1, x2, y2 = (c_round(corner / 16) for corner in corners)
    _, channels, height, width = maps.shape
    pooled = torch.zeros(channels, size, size)
    # float32, as Caffe's
    tall, wide = (torch.tensor(max(n, 1.0)) / size for n in (y2 - y1 + 1, x2 - x1 + 1))
    for row in range(size):
        top, bottom = (
            min(max(int(f(torch.tensor(float(n)) * tall)) + y1, 0), height)
            for f, n in ((torch.floor, row), (torch.ceil, row + 1))
        )
        for column in range(size):
            left, right = (
                min(max(int(f(torch.tensor(float(n)) * wide)) + x1, 0), width)
                for f, n in ((torch.floor, column), (torch.ceil, column + 1))
            )
            if top < bottom and left < right:
                part = maps[int(image), :, top:bottom, left:right]
                pooled[:, row, column] = part.amax(dim=(1, 2))
    return pooled


@pytest.fixture
def drawn():
    """Return maps of two images of 160 x 240 pixels, and regions."""
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 10, 15)
    corner, size = torch.rand(60, 2) * 200 - 20, torch.rand(60, 2) * 120
    regions = torch.cat((torch.arange(60).view(-1, 1) % 2, corner, corner + size), dim=1)
    regions[:20] = regions[:20].round()
    special = [
        [0, 0, 0, 240, 160],  # the whole image
        [1, 30, 40, 30, 40],  # no pixel
        [1, 50, 40, 20, 10],  # ends before it starts
        [0, 8, 24, 41, 57],  # halves: 0.5 and 1.5, and the last pixels 2.5 and 3.5
        [0, -40, -8, 8, 8],  # -2.5 and -0.5
        [1, 230, 150, 300, 300],  # partly outside
        [1, 400, 300, 500, 350],  # outside
    ]
    return maps, torch.cat((regions, torch.tensor(special, dtype=torch.float32)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [7, 14])
def test_regions_are_pooled_as_in_caffes_loop_to_the_bit(drawn, size, device):
    maps, regions = drawn
    found = pool_regions(maps.to(device), regions.to(device), size, 16).cpu()
    inclusive = regions - torch.tensor([0, 0, 0, 1, 1])
    expected = torch.stack([caffe(maps, region, size) for region in inclusive])
    assert torch.equal(found, expected)
    assert not found[-1].any()
    # Given exclusive ends the operator pools other regions.
    wrong = torch.stack([caffe(maps, region, size) for region in regions])
    assert not torch.equal(found, wrong)
    assert pool_regions(maps, regions[:0], size, 16).shape == (0, 3, size, size)


@pytest.mark.parametrize("device", DEVICES)
def test_reproducible_gradients_are_torchvisions(drawn, monkeypatch, device):
    maps, regions = (each.to(device) for each in drawn)
    weights, found = torch.randn(len(regions), 3, 7, 7).to(device), []
    for reproducible in (False, True):
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda r=reproducible: r)
        leaf = maps.clone().requires_grad_()
        (pool_regions(leaf, regions, 7, 16) * weights).sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(found[1], found[0])


def test_maps_of_bf16_and_channels_last_are_pooled(drawn):
    maps, regions = drawn
    expected = pool_regions(maps.bfloat16().float(), regions, 7, 16)
    assert torch.equal(pool_regions(maps.bfloat16(), regions, 7, 16), expected)
    last = maps.to(memory_format=torch.channels_last)
    assert torch.equal(pool_regions(last, regions, 7, 16), pool_regions(maps, regions, 7, 16))


def vgg_detector():
    torch.manual_seed(0)
    model = ModelConfig(name="vgg16", depth=16, shortcut="none", width=4, num_classes=3)
    return build_detector(model, settings())


def test_regions_at_the_end_of_an_image_have_values_in_vggs_map():
    """Its map has the last 8 of 200 pixels, too, as Caffe's has."""
    detector = vgg_detector()
    with torch.no_grad():
        maps = detector.body(torch.rand(1, 3, 200, 200))
    assert maps.shape[2:] == (13, 13)
    last = torch.tensor([[0, 192.0, 192, 200, 200]])
    pooled = pool_regions(maps, last, 7, detector.stride)
    assert torch.equal(pooled, maps[:, :, 12:, 12:].expand_as(pooled))
    assert pooled.any()


@pytest.mark.parametrize("size", [(10, 1000), (1000, 10), (1, 100)])
def test_vgg_trains_on_and_detects_in_a_photograph_of_100_to_1(size):
    image, config, detector = torch.rand(3, *size), settings(), vgg_detector()
    box = torch.tensor([[0.0, 0, size[1], size[0]]])
    parts = losses(detector.train(), config, image, box, torch.tensor([1]), 0)
    total = sum(part.mean for part in parts)
    total.backward()
    assert total.isfinite()
    test = EvaluationConfig(protocol="boxes", sizes=[128], num_proposals=20)
    found = detect([pyramid(detector.eval(), config, image=image)], test)
    assert found.boxes.isfinite().all()
    assert (found.boxes[:, 2:] <= torch.tensor([size[1], size[0]])).all()
