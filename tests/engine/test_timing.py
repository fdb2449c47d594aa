"""What is timed is what is trained."""

import pytest
import torch

from resnet_repro.engine import timing
from tests.support.runs import changed
from tests.support.training import EAGER


def test_a_network_is_timed_in_the_groups_in_which_it_is_trained(config, monkeypatch):
    given = []

    def step(model, optimizer, bn_batch, execution):
        given.append(bn_batch)
        return lambda images, labels: given.append(images.shape) or torch.zeros(2)

    monkeypatch.setattr(timing, "Step", step)
    next(timing.network_loop(config, EAGER))
    assert given == [8, (16, 3, 16, 16)]


@pytest.mark.parametrize(("threads", "number"), [(None, 1), (1, 2), (2, 1)])
def test_processes_are_as_fast_as_the_cores_that_they_have(config, monkeypatch, threads, number):
    """One is timed; on two cores, two with a thread each are twice as fast."""
    monkeypatch.setattr(timing, "num_cores", lambda: 2)
    monkeypatch.setattr(timing, "num_processes", lambda config: config.compute.processes or 1)
    monkeypatch.setattr(timing, "iterate", lambda loop, number, device: 0.5 * number)
    compute = {"threads": threads}
    one = timing.images_per_second(changed(config, compute=compute))
    both = timing.images_per_second(changed(config, compute={**compute, "processes": 2}))
    assert both == number * one


def test_of_a_run_on_several_gpus_the_share_of_one_is_timed(config, monkeypatch):
    """Which is not captured; a small network gains little by several."""
    given, real = [], timing._loop
    monkeypatch.setattr(timing, "choose_device", lambda compute: torch.device("cuda"))
    monkeypatch.setattr(timing, "num_cores", lambda: 2)
    monkeypatch.setattr(timing, "num_processes", lambda config: config.compute.processes or 1)
    monkeypatch.setattr(timing, "iterate", lambda loop, number, device: 0.5 * number)
    monkeypatch.setattr(timing, "_loop", lambda part, how: given.append(part) or real(part, how))
    speed = timing.images_per_second(changed(config, compute={"processes": 2, "threads": 1}))
    assert (given[0].recipe.batch_size, given[0].compute.graph) == (8, False)
    assert speed == 2 * 8 / 0.5
