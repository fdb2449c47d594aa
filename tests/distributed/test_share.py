"""What each process gets: its part of a mini-batch, and how many processes there are."""

from dataclasses import replace

import pytest
import torch

from resnet_repro import machine
from resnet_repro.data.feed import batch_slice
from resnet_repro.distributed.group import Group
from resnet_repro.engine.device import (
    choose_device,
    most_processes,
    num_processes,
    num_threads,
)
from resnet_repro.errors import UserError
from resnet_repro.settings.recipe import RecipeConfig
from tests.support.photos import feed_of
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


def test_several_processes_compute_on_the_cpu_of_a_mac(config, monkeypatch):
    """MPS has no collectives."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = changed(config, compute={"device": "auto"})
    assert choose_device(config.compute).type == "mps"
    assert choose_device(config.compute, Group(0, 2)).type == "cpu"
    both = changed(config, compute={"processes": 2})
    assert choose_device(both.compute).type == "cpu"
    mps = changed(config, compute={"processes": 2, "device": "mps"})
    with pytest.raises(UserError, match="device=mps: not available for several processes"):
        choose_device(mps.compute)


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


def test_processes_do_not_share_the_statistics_of_a_whole_mini_batch(config):
    whole = changed(config, recipe={"bn_batch": None}, compute={"processes": 2})
    with pytest.raises(UserError, match=r"all 16 images .* set recipe.bn_batch to at most 8"):
        num_processes(whole)
    assert most_processes(whole, 4) == 1
    assert num_processes(changed(whole, recipe={"bn_batch": 8})) == 2


SRUN = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2"}  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "allowed", "cores"),
    [
        ({}, 16, 8),
        # srun has bound each of its tasks to its own.
        ({**SRUN, "SLURM_CPUS_PER_TASK": "8"}, 8, 8),
        ({**SRUN, "SLURM_CPUS_PER_TASK": "8"}, 64, 8),  # or not, on a node with other jobs
        (SRUN, 16, 8),
        # One task, which starts the processes itself, as on one node.
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_CPUS_PER_TASK": "16"}, 16, 8),
    ],
)
def test_cores_that_are_a_tasks_own_are_not_divided_again(
    settings, monkeypatch, environ, allowed, cores
):
    """Neither for the processes that read photographs nor for threads."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(machine, "_allowed", lambda: set(range(allowed)))
    monkeypatch.setattr(machine, "_quota", lambda: None)
    one = feed_of(settings).inputs
    group = Group(1, 2, 1, 2)
    reading = replace(settings, compute=replace(settings.compute, workers=None))
    assert feed_of(reading, group=group, inputs=one)._workers == cores
    assert num_threads(settings.compute, group) == cores
