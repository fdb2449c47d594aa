"""Padding, crops and mirrored images."""

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import load_data, make_feed
from resnet_repro.data.images import crop_and_flip
from tests.support.kernels import NO_COMPILER, cpu_kernels
from tests.support.runs import changed
from tests.support.sets import order
from tests.support.training import CPU


def test_every_view_is_torchvisions_pad_crop_and_flip():
    torch.manual_seed(0)
    padding, size = 4, 9
    views = torch.arange(2 * size**2)
    images = torch.randn(1, 3, 32, 32).expand(len(views), -1, -1, -1)
    ours = crop_and_flip(images, views, padding)
    for view in views.tolist():
        top, left = divmod(view % size**2, size)
        expected = tv.crop(tv.pad(images[0], [padding]), top, left, 32, 32)
        expected = tv.hflip(expected) if view >= size**2 else expected
        assert torch.equal(ours[view], expected), view


@pytest.mark.parametrize("input_kind", ["pixel_mean", "channels"])
def test_the_cpu_kernels_make_the_same_views_to_the_last_bit(config, input_kind):
    kernels = cpu_kernels() or pytest.skip(NO_COMPILER)
    config = changed(config, recipe={"input": input_kind})
    data = load_data(config.data)
    slow, fast = (make_feed(data, config, CPU, kernels=each) for each in (None, kernels))
    for batch in slow.batches(0, 20):
        for ours, theirs in zip(fast.to_inputs(*batch), slow.to_inputs(*batch), strict=True):
            assert torch.equal(ours, theirs)
            assert ours.stride() == theirs.stride()


def test_all_81_offsets_and_both_directions_are_equally_likely():
    batches = order(5000, 500)
    views = torch.cat([batches[i][1] for i in range(100)])  # ten epochs
    counts = torch.bincount(views, minlength=162)
    assert len(counts) == 162
    expected = len(views) / 162
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert (
        chi_square < 232
    )  # 161 degrees of freedom: above it once in 5000 draws; the seed is fixed
