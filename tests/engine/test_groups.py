"""Batch-norm groups computed at once, or one after the other: the same; and which is chosen."""

import pytest
import torch
from torch import nn

from resnet_repro.engine import groups
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.groups import accumulates, at_once
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.step import Step
from resnet_repro.errors import UserError
from resnet_repro.models.complexity import training_bytes
from resnet_repro.records import Record
from tests.support.runs import changed
from tests.support.steps import BATCH, assert_same, trained
from tests.support.training import CPU, EAGER, train


@pytest.mark.parametrize("num_groups", [2, 4, 8])
@pytest.mark.parametrize("activation", ["original", "full_pre", "bn_after"])
@pytest.mark.parametrize("recompute", [None, 2])
def test_at_once_and_one_after_the_other_are_the_same(config, num_groups, activation, recompute):
    config = changed(config, model={"activation": activation})
    size = BATCH // num_groups
    totals, state = trained(config, size, recompute=recompute)
    slow_totals, slow_state = trained(config, size, accumulate=True)
    torch.testing.assert_close(totals, slow_totals)  # summed in float32
    assert_same(state, slow_state)


def test_memory_decides_unless_the_user_does(config, monkeypatch):
    config = changed(config, recipe={"batch_size": 32, "bn_batch": 8})
    needed = groups.OVERHEAD * training_bytes(at_once(config))
    assert needed > 2 * training_bytes(config)
    for available, slow in ((needed + 1, False), (needed - 1, True), (None, False)):
        monkeypatch.setattr(groups, "available_bytes", lambda available=available: available)
        assert accumulates(config, CPU) == slow
        assert choose_execution(config).accumulate == slow
        for asked in (True, False):
            assert accumulates(changed(config, compute={"accumulate": asked}), CPU) == asked
    assert (
        "accumulate" in choose_execution(changed(config, compute={"accumulate": True})).describe()
    )
    one = changed(config, recipe={"bn_batch": None}, compute={"accumulate": True})
    assert not accumulates(one, CPU)


def test_a_run_goes_on_with_groups_one_after_the_other(config, tmp_path, monkeypatch):
    """Though memory suffices now; what was recorded before there was a choice decides nothing."""
    config = changed(config, recipe={"iterations": 1}, compute={"accumulate": True})
    train(config, tmp_path)
    (tmp_path / "record.jsonl").unlink()
    train(changed(config, compute={"accumulate": None}), tmp_path)
    ways = [session["execution"].split() for session in Record(tmp_path).environment()]
    assert ["accumulate" in words for words in ways] == [True, True]
    dropout = changed(config, model={"shortcut": "dropout"}, compute={"accumulate": None})
    train(dropout, tmp_path / "dropout")
    environment = tmp_path / "dropout/environment.json"
    environment.write_text(environment.read_text().replace(" accumulate", ""))
    (tmp_path / "dropout/record.jsonl").unlink()
    train(dropout, tmp_path / "dropout")
    last = Record(tmp_path / "dropout").environment()[-1]
    assert "accumulate" in last["execution"].split()


def test_dropout_draws_for_one_group_after_the_other(config):
    config = changed(config, model={"shortcut": "dropout"})
    assert accumulates(config, CPU)
    with pytest.raises(UserError, match=r"compute\.accumulate=false: .*dropout"):
        accumulates(changed(config, compute={"accumulate": False}), CPU)


def test_a_batch_norm_of_others_keeps_its_own_momentum(config):
    """Its averages move by that towards the mean of the groups, as they would with one group."""
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=0.01), nn.Flatten(), nn.Linear(48, 10))
    images, labels = torch.randn(8, 3, 4, 4), torch.arange(8)
    step = Step(net, build_optimizer(net, config.recipe), 4, EAGER)
    step(images, labels)
    means = images.view(2, 4, 3, 16).mean(dim=(1, 3))
    torch.testing.assert_close(net[0].running_mean, 0.01 * means.mean(dim=0), atol=1e-6, rtol=1e-4)
    net[0].momentum = None  # all iterations alike
    with pytest.raises(UserError, match=r"momentum=None.*set recipe\.bn_batch=null"):
        Step(net, build_optimizer(net, config.recipe), 4, EAGER)
    Step(net, build_optimizer(net, config.recipe), None, EAGER)(images, labels)
