"""Checkpoints: damaged ones, and those of another run."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from resnet_repro.engine import checkpoint
from resnet_repro.engine import train as engine
from resnet_repro.engine.step import Step
from resnet_repro.errors import UserError
from resnet_repro.plan import Run
from resnet_repro.records import Record
from tests.support.runs import SMALL, changed, small_config
from tests.support.training import PowerCutError, timeless


@pytest.mark.parametrize("call", [1, 2])
def test_a_save_that_is_cut_leaves_a_whole_checkpoint(tmp_path, monkeypatch, call):
    for iteration in (1, 2):
        checkpoint.save(tmp_path, {"run": "a", "iteration": iteration})
    real, calls = Path.replace, []

    def cut(self, target):
        calls.append(1)
        if len(calls) == call:
            raise PowerCutError
        return real(self, target)

    with monkeypatch.context() as context, pytest.raises(PowerCutError):
        context.setattr(Path, "replace", cut)
        checkpoint.save(tmp_path, {"run": "a", "iteration": 3})
    assert checkpoint.restore(tmp_path, "a", lambda state: None)["iteration"] == 2


def test_a_save_for_which_there_is_no_space_changes_nothing(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, {"run": "a", "iteration": 1})
    before = (tmp_path / checkpoint.LAST).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_temporary", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, {"run": "a", "iteration": 2})
    assert (tmp_path / checkpoint.LAST).read_bytes() == before


def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(tmp_path, monkeypatch):
    for iteration in (1, 2):
        state = {"run": "a-seed0-01234567", "iteration": iteration, "weights": torch.randn(1000)}
        checkpoint.save(tmp_path, state)
    messages = []
    monkeypatch.setattr(
        checkpoint.logger, "warning", lambda *words: messages.append(words[0] % words[1:])
    )

    def restore():
        return checkpoint.restore(tmp_path, "a-seed0-01234567", lambda state: None)

    path = tmp_path / checkpoint.LAST
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, in the weights
    for damage in (content, content[: len(content) // 3], b"", bytes(len(content))):
        path.write_bytes(damage)
        assert restore()["iteration"] == 1
        assert "last.pt is damaged" in messages.pop()
    (tmp_path / checkpoint.PREVIOUS).write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be used"):
        restore()


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """Return a run with checkpoints of iterations 4 and 3 of 6, and the events of a whole one."""
    config = changed(small_config(), compute={"save_minutes": 0.0})
    root = tmp_path_factory.mktemp("stopped")
    run, folder = Run("ResNet-8", config), root / "stopped"
    engine.train(run, root / "whole")
    real, calls = Step.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) == 5:
            raise PowerCutError
        return real(*args)

    with pytest.MonkeyPatch.context() as context, pytest.raises(PowerCutError):
        context.setattr(Step, "__call__", cut)
        engine.train(run, folder)
    assert {"last.pt", "previous.pt"} <= {path.name for path in folder.iterdir()}
    return run, folder, timeless(Record(root / "whole").events())


@pytest.fixture
def stopped(trained_once, tmp_path):
    """Return a copy of the run, which a test may damage."""
    run, folder, whole = trained_once
    shutil.copytree(folder, tmp_path / "stopped")
    return run, tmp_path / "stopped", whole


def deeper(state):
    state["model"]["stages.9.weight"] = torch.zeros(1)
    return state


def wide(state):
    name = next(iter(state["model"]))
    state["model"][name] = state["model"][name].double()
    return state


def reshaped(state):
    state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(7)
    return state


def at(**progress):
    return lambda state: {**state, "progress": {**state["progress"], **progress}}


OTHER = "ResNet-8-seed1-01234567"
WRONG = {  # what is wrong, how it came to be, and the reason that is given
    "a list": (lambda state: [1, 2], "damaged (its content is a list"),
    "nothing": (lambda state: None, "damaged (its content is a NoneType"),
    "a missing entry": (
        lambda state: {k: v for k, v in state.items() if k != "schedule"},
        "damaged (its entries are not this version's: schedule",
    ),
    "a newer entry": (
        lambda state: {**state, "averages": {}},
        "damaged (its entries are not this version's: averages",
    ),
    "another network": (deeper, "damaged (its weights are those of another network"),
    "averages of another network": (
        lambda state: {**state, "own_averages": [{}, {}]},
        "damaged (its averages are those of another network",
    ),
    "another kind of number": (wide, "damaged (its weights stem.conv.weight are torch.float64"),
    "another shape of momentum": (reshaped, "damaged (its momentum 0 are torch.float32 (7,)"),
    "no number of iterations": (at(iteration=float("nan")), "damaged (its progress has iteration"),
    "too many iterations": (at(iteration=7), "damaged (iteration is 7, of 6"),
    "a missing field": (
        lambda state: {**state, "progress": {"iteration": 4}},
        "damaged (its progress is not this version's",
    ),
    "another run": (lambda state: {**state, "run": OTHER}, f"of another run ({OTHER})"),
}


@pytest.mark.parametrize(("spoil", "reason"), WRONG.values(), ids=WRONG)
def test_a_whole_checkpoint_with_wrong_content_is_not_used(stopped, heard, tmp_path, spoil, reason):
    """The one before is, and stays until there is a new one."""
    run, folder, whole = stopped
    other = tmp_path / "other"
    other.mkdir()
    checkpoint.save(other, spoil(torch.load(folder / "last.pt")))
    (other / "last.pt").replace(folder / "last.pt")
    engine.train(run, folder)
    assert timeless(Record(folder).events()) == whole
    assert f"{folder / 'last.pt'} is {reason}" in heard.text
    assert "previous.pt is used instead" in heard.text
    assert "resuming from iteration 3" in heard.text
    assert (folder / "damaged.pt").is_file()


def test_one_changed_bit_is_found_wherever_it_is(stopped):
    run, folder, _ = stopped
    path = folder / "last.pt"
    content = path.read_bytes()

    def restore():
        return checkpoint.restore(folder, run.id, lambda state: None)["progress"]["iteration"]

    assert restore() == 4
    end = len(content)
    for place in [*range(0, end, end // 20), *range(end - 120, end, 5)]:  # the zip's end and all
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert restore() == 3, place
    path.write_bytes(content + b"x")
    assert restore() == 3


def test_another_runs_weights_are_neither_resumed_nor_tested(run_cli, tmp_path):
    assert run_cli(*SMALL, "seeds=[0,1]").code == 0
    first, second = sorted((tmp_path / "results/runs").glob("*-seed*"))
    own = (first / "last.pt").read_bytes()
    (first / "last.pt").write_bytes((second / "last.pt").read_bytes())
    another = ("evaluation.batch_norm=reestimated", "evaluation.batch_norm_images=32")
    outcome = run_cli("evaluate", *SMALL, *another, "seeds=[0]")
    assert outcome.code == 1
    assert f"last.pt is of another run ({second.name})" in outcome.err
    assert not json.loads((first / "evaluations.json").read_text()).keys() - {"single_view"}
    (first / "record.jsonl").unlink()
    outcome = run_cli(*SMALL, "seeds=[0]")
    assert outcome.code == 1
    assert f"last.pt is of another run ({second.name})" in outcome.err
    assert "no checkpoint in" in outcome.err
    (first / "last.pt").write_bytes(own)
    assert run_cli(*SMALL, "seeds=[0]").code == 0


def test_the_hash_of_weights_is_that_of_their_bytes_in_any_precision():
    model = torch.nn.Linear(3, 2)
    model.register_buffer("steps", torch.tensor(7))
    state = sorted(model.state_dict().items())
    expected = hashlib.sha256()
    for name, tensor in state:
        expected.update(name.encode() + tensor.numpy().tobytes())
    assert checkpoint.weights_hash(model) == expected.hexdigest()
    assert checkpoint.weights_hash(model.bfloat16()) != expected.hexdigest()  # NumPy has none
