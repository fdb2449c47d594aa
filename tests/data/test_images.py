"""Padding, crops and mirrored images."""

import torch
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data.images import crop_and_flip
from tests.support.sets import order


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
