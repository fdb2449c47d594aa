"""Batch-norm groups computed at once, or one after the other: the same; and which is chosen."""

import pytest
import torch

from resnet_repro.engine import groups
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.groups import accumulates, at_once
from resnet_repro.errors import UserError
from resnet_repro.launch.processes import run_in_processes
from resnet_repro.models.complexity import training_bytes
from resnet_repro.records import Record
from tests.support.runs import changed
from tests.support.steps import BATCH, assert_same, save_trained, trained
from tests.support.training import CPU, train


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


def test_two_processes_with_two_groups_each_are_four_groups_one_after_the_other(config, tmp_path):
    run_in_processes(save_trained, 2, config, 4, tmp_path / "two.pt", 1)
    assert_same(torch.load(tmp_path / "two.pt"), trained(config, 4, accumulate=True)[1])


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


def test_dropout_draws_for_one_group_after_the_other(config):
    config = changed(config, model={"shortcut": "dropout"})
    assert accumulates(config, CPU)
    with pytest.raises(UserError, match=r"compute\.accumulate=false: .*dropout"):
        accumulates(changed(config, compute={"accumulate": False}), CPU)
