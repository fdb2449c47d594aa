"""Batch-norm groups computed at once, or one after the other: the same; and which is chosen."""

from dataclasses import replace

import pytest
import torch

from resnet_repro.engine import groups
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.groups import accumulates, at_once
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.step import Step
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.complexity import training_bytes
from tests.support.runs import changed
from tests.support.training import CPU, EAGER, RECIPE


def trained(config, bn_batch, *, accumulate, recompute=None):
    """Take three steps in float64; return the losses and errors, and all weights and averages."""
    execution = replace(EAGER, accumulate=accumulate, recompute=recompute)
    torch.manual_seed(0)
    model = execution.prepare(build_model(config.model).double()).train()
    step = Step(model, build_optimizer(model, RECIPE), bn_batch, execution)
    batches = [(torch.randn(16, 3, 16, 16).double(), torch.randint(10, (16,))) for _ in range(3)]
    totals = [step(*batch) for batch in batches]
    return totals, [*model.state_dict().values()]


@pytest.mark.parametrize("num_groups", [2, 4, 8])
@pytest.mark.parametrize("activation", ["original", "full_pre", "bn_after"])
@pytest.mark.parametrize("recompute", [None, 2])
def test_at_once_and_one_after_the_other_are_the_same(config, num_groups, activation, recompute):
    config = changed(config, model={"activation": activation})
    size = 16 // num_groups
    ours = trained(config, size, accumulate=False, recompute=recompute)
    theirs = trained(config, size, accumulate=True)
    torch.testing.assert_close(ours[0], theirs[0])  # summed in float32
    for mine, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


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


def test_dropout_draws_for_one_group_after_the_other(config):
    config = changed(config, model={"shortcut": "dropout"})
    assert accumulates(config, CPU)
    with pytest.raises(UserError, match=r"compute\.accumulate=false: .*dropout"):
        accumulates(changed(config, compute={"accumulate": False}), CPU)
