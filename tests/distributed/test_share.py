"""What each process gets: its part of a mini-batch, and how many processes there are."""

from dataclasses import replace

import pytest
import torch

from resnet_repro.data.feed import batch_slice
from resnet_repro.distributed.group import Group
from resnet_repro.engine.device import num_processes
from resnet_repro.errors import UserError
from resnet_repro.settings.recipe import RecipeConfig
from tests.support.runs import changed


def test_a_mini_batch_is_shared_in_whole_groups():
    recipe = RecipeConfig(iterations=1, batch_size=256, bn_batch=32, lr=0.1)
    assert [batch_slice(recipe, Group(rank, 4)) for rank in (0, 3)] == [
        slice(0, 64),
        slice(192, 256),
    ]
    with pytest.raises(UserError, match=r"3 processes cannot share the 8 groups"):
        batch_slice(recipe, Group(0, 3))
    with pytest.raises(UserError, match=r"16 processes"):
        batch_slice(recipe, Group(0, 16))


@pytest.mark.parametrize(("gpus", "expected"), [(0, 1), (1, 1), (4, 4), (6, 4), (8, 8), (12, 8)])
def test_photographs_take_every_gpu_that_fits(config, monkeypatch, gpus, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    config = changed(config, recipe={"batch_size": 256, "bn_batch": 32}, compute={"device": "auto"})
    assert num_processes(config) == 1  # images in memory
    photographs = replace(
        config,
        data=replace(config.data, name="imagenet", generate=None),
        recipe=replace(config.recipe, crop_padding=0),
        evaluation=replace(config.evaluation, protocol="one_crop", sizes=[20], crop=16),
    )
    assert num_processes(photographs) == expected
