"""Two processes that train one network."""

import os
import re
import signal
import sys

import pytest
import torch

from resnet_repro.cli import main as cli
from resnet_repro.distributed.group import Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.averages import running_averages
from resnet_repro.launch.local import train_and_test
from resnet_repro.launch.processes import run_in_processes
from resnet_repro.models import build_model
from resnet_repro.plan import Run
from resnet_repro.plugins import registry
from resnet_repro.records import Record
from resnet_repro.settings.recipe import WarmupConfig
from tests.support.networks import LINEAR, TINY, own
from tests.support.pairs import check_network, in_order, train_whole_and_broken
from tests.support.processes import wait_until_it_trains
from tests.support.runs import PATIENCE, SMALL, changed, small_config
from tests.support.steps import assert_same, save_trained, trained

SINGLE_PROCESS = Group()
WARMUP = WarmupConfig(lr=0.01, until_train_error=99)
AS_ONE = Run("ResNet-8", changed(
    small_config(), recipe={"warmup": WARMUP, "weight_decay": 1e-3},
    evaluation={"responses": True}
))  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder in which two processes have done all of this module's work."""
    made = tmp_path_factory.mktemp("pair")
    often = changed(small_config(), recipe={"iterations": 10}, evaluation={"every": 4})
    plugin = made / "tiny.py"
    plugin.write_text(TINY.format(LINEAR))
    registry.load([str(plugin)])
    jobs = [
        (check_network, own("tiny"), made),
        (train_and_test, AS_ONE, made / "two"),
        (train_whole_and_broken, Run("ResNet-8", often), made),
        (save_trained, small_config(), 4, made / "two.pt", 1),
    ]
    run_in_processes(in_order, 2, jobs, on_gpus=False)
    registry.load(())
    return made


def test_processes_that_are_started_have_the_plugins(folder):
    assert [(folder / f"draws-{rank}").read_text() for rank in (0, 1)] == ["False", "False"]


def test_two_processes_do_what_one_does(folder, tmp_path):
    """Weights, averages, errors, counts and responses, with groups of batch norm."""
    train_and_test(AS_ONE, tmp_path, SINGLE_PROCESS)
    one, two = (torch.load(each / "last.pt") for each in (tmp_path, folder / "two"))
    for name, tensor in one["model"].items():
        if name.endswith("num_batches_tracked"):  # counts groups, and nothing looks at it
            continue
        torch.testing.assert_close(two["model"][name], tensor, atol=2e-6, rtol=2e-5, msg=name)
    one, two = Record(tmp_path), Record(folder / "two")
    assert len(two.events()) == len(one.events())
    for ours, theirs in zip(two.events(), one.events(), strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - {"images_per_second", "seconds", "weights", "loss"}:
            assert ours[key] == theirs[key]
        assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=1e-4)
    assert [session["processes"] for session in two.environment()] == [2]
    tests = [record.evaluations()["single_view"] for record in (one, two)]
    assert tests[0]["num_images"] == tests[1]["num_images"] == 30
    assert tests[0]["num_errors"] == tests[1]["num_errors"]
    responses = [record.evaluations()["responses"]["std"] for record in (one, two)]
    assert responses[1] == pytest.approx(responses[0], rel=1e-4)


def test_two_processes_with_two_groups_each_are_four_groups_one_after_the_other(config, folder):
    assert_same(torch.load(folder / "two.pt"), trained(config, 4, accumulate=True)[1])


def test_a_pair_stopped_by_one_of_them_goes_on_to_the_same_bits(config, folder):
    """Whatever is saved and tested in between: each process goes on with its own averages."""
    ends = [Record(folder / name).events()[-1] for name in ("whole", "broken")]
    assert ends[0]["event"] == "finished"
    assert ends[1]["weights"] == ends[0]["weights"]
    assert len(Record(folder / "broken").environment()) == 2
    state = torch.load(folder / "broken/last.pt")
    model, every = build_model(config.model), state["own_averages"]
    model.load_state_dict(state["model"])
    assert checkpoint.weights_hash(model) == ends[0]["weights"]
    for name, mean in running_averages(model).items():
        assert not torch.equal(every[0][name], every[1][name])
        torch.testing.assert_close((every[0][name] + every[1][name]) / 2, mean)


@pytest.mark.slow
def test_three_processes_add_their_gradients_in_one_order_also_after_a_stop(tmp_path):
    recipe = {"iterations": 10, "batch_size": 24}
    config = changed(small_config(), model={"width": 16}, recipe=recipe)
    run_in_processes(train_whole_and_broken, 3, Run("ResNet-8", config), tmp_path, on_gpus=False)
    ends = [Record(tmp_path / name).events()[-1] for name in ("whole", "broken")]
    assert ends[0]["event"] == "finished"
    assert ends[1]["weights"] == ends[0]["weights"]


@pytest.mark.slow
def test_a_pair_stopped_by_ctrl_c_and_by_sigterm_goes_on_to_the_same_bits(tmp_path, start, run_cli):
    words = ("compute.processes=2", "recipe.bn_batch=8", "recipe.iterations=120",
             "evaluation.every=120", "compute.log_every=1")  # fmt: skip
    assert run_cli(*SMALL, *words, "results=whole").code == 0
    for stop in (
        lambda pid: os.killpg(pid, signal.SIGINT),  # as a terminal does: all of them get it
        lambda pid: os.kill(pid, signal.SIGTERM),
    ):
        broken = start(*words)
        wait_until_it_trains(tmp_path, broken)
        stop(broken.pid)
        out = broken.communicate(timeout=PATIENCE)[0]
        assert broken.returncode == 130, out
        assert re.search(r"saved at iteration \d+ of 120; run the same command to resume", out)
    assert run_cli(*SMALL, *words).code == 0
    hashes = [
        Record(next((tmp_path / name / "runs").glob("*-seed*"))).events()[-1]["weights"]
        for name in ("whole", "results")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_a_users_mistake_is_said_once(tmp_path, monkeypatch, capfd):
    words = ["compute.processes=2", "recipe.bn_batch=8", "data.image_size=9",
             "recipe.crop_padding=1", "data.num_validation=200"]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["resnet-repro", *SMALL, *words])
    assert cli.main() == 1
    out = "".join(capfd.readouterr())  # of all processes
    assert out.count("data.num_validation=200 of 100 training images") == 1, out
    assert "Traceback" not in out
