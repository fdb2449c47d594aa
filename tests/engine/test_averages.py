"""Batch norm's averages in several processes: each its own; for tests and checkpoints the mean."""

from types import SimpleNamespace

import pytest
import torch

from resnet_repro.distributed.group import Group
from resnet_repro.engine.averages import averaged, restore_own, running_averages
from resnet_repro.models import build_model


def drawn(averages):
    return {name: torch.rand_like(average) for name, average in averages.items()}


@pytest.fixture
def three(config):
    """Return a network, the averages of three processes, and the group in which it is the last."""
    torch.manual_seed(0)
    model = build_model(config.model)
    averages = running_averages(model)
    every = [drawn(averages) for _ in range(3)]
    flat = [torch.cat([each.flatten() for each in own.values()]) for own in every]
    restore_own(model, every, SimpleNamespace(size=3, rank=2))
    return model, every, SimpleNamespace(size=3, rank=2, all_gather=lambda own: [*flat[:2], own])


def test_a_test_sees_the_mean_and_training_goes_on_with_what_it_had(three):
    model, every, group = three
    state = model.state_dict()
    norms = [name for name in state if name.endswith(("running_mean", "running_var"))]
    assert [*running_averages(model)] == norms
    with averaged(model, group) as given:
        for name in norms:
            mean = torch.stack([own[name] for own in every]).mean(dim=0)
            torch.testing.assert_close(model.state_dict()[name], mean)
            assert all(torch.equal(given[rank][name], every[rank][name]) for rank in range(3))
    assert all(torch.equal(model.state_dict()[name], every[2][name]) for name in norms)


def test_the_mean_of_what_is_the_same_everywhere_has_the_same_bits(three):
    """So a checkpoint has the weights that were tested, whoever saves and resumes it."""
    model, every, _ = three
    with averaged(model, SimpleNamespace(size=3, rank=0, all_gather=lambda own: [own] * 3)):
        for name, average in running_averages(model).items():
            assert torch.equal(average, every[2][name]), name


def test_another_number_of_processes_starts_from_the_mean(three):
    model, every, _ = three
    before = {name: each.clone() for name, each in running_averages(model).items()}
    for group, given in ((Group(0, 2), every), (Group(), every), (Group(), []), (Group(1, 2), [])):
        restore_own(model, given, group)
        assert all(torch.equal(running_averages(model)[name], before[name]) for name in before)
    with averaged(model, Group()) as given:  # which has no one to ask
        assert given == []
