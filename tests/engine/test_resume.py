"""A run that was stopped goes on as if it had not been."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine import checkpoint, schedule, tasks
from resnet_repro.engine import train as engine
from resnet_repro.engine.session import check_same, locked
from resnet_repro.engine.step import Step
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.plan import Run
from resnet_repro.records import Record, locks
from resnet_repro.records.errors import LockedError
from resnet_repro.settings.recipe import PlateauConfig, WarmupConfig
from tests.support.detection_runs import StopAfter
from tests.support.runs import SMALL, changed, the_run
from tests.support.training import PowerCutError, of, timeless, train

# The command line, which is killed in its sixth iteration.
KILL_9 = """
import os, runpy, signal
from resnet_repro.engine.step import Step
step, calls = Step.__call__, []
def kill(*words):
    calls.append(1)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*words)
Step.__call__ = kill
runpy.run_module("resnet_repro", run_name="__main__", alter_sys=True)
"""
WARM_UP = {"lr_drops": [7], "warmup": WarmupConfig(lr=0.01, until_train_error=99)}
PLATEAU = {"plateau": PlateauConfig(window=2, patience=1, min_gain=1.0, max_drops=2)}


@pytest.mark.parametrize(
    ("precision", "rates", "event"),
    [
        ("fp32", WARM_UP, "warmup_end"),
        ("bf16", WARM_UP, "warmup_end"),
        ("fp32", {"lr_drops": [], **PLATEAU}, "plateau"),
    ],
)
def test_a_run_stopped_anywhere_ends_with_the_same_weights(
    config, tmp_path, monkeypatch, precision, rates, event
):
    config = changed(
        config,
        recipe={"precision": precision, "iterations": 9, **rates},
        compute={"save_minutes": 0.0},
    )
    monkeypatch.setattr(schedule, "WARMUP_WINDOW", 4)
    whole = train(config, tmp_path / "whole")

    real, calls = Step.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise PowerCutError
        return real(*args)

    monkeypatch.setattr(Step, "__call__", cut)
    for _ in range(9):
        try:
            broken = train(config, tmp_path / "broken")
        except PowerCutError:
            continue
        break
    assert len(calls) > 9
    assert timeless(broken) == timeless(whole)
    assert of(whole, event)


def test_a_record_ahead_of_its_checkpoint_is_taken_back(config, tmp_path, monkeypatch):
    """A power cut long after the last checkpoint: what came after it is measured once, again."""
    config = changed(
        config, recipe={"iterations": 9}, compute={"save_minutes": 1e9, "log_every": 1}
    )
    whole = train(config, tmp_path / "whole")
    run, folder = Run("ResNet-8", config), tmp_path / "broken"
    real, calls = Step.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)  # saves after this iteration
        if len(calls) == 8:
            raise PowerCutError
        return real(*args)

    monkeypatch.setattr(Step, "__call__", cut)
    with pytest.raises(engine.StoppedRun, match=r"saved at iteration 4 of 9"):
        engine.train(run, folder)
    with pytest.raises(PowerCutError):
        engine.train(run, folder)
    record = folder / "record.jsonl"
    assert Record(folder).events()[-1]["iteration"] == 7
    record.write_bytes(record.read_bytes() + b'{"event": "tr')  # and a line half written
    engine.train(run, folder)
    assert timeless(Record(folder).events()) == timeless(whole)


def test_stopping_in_the_last_iteration_stops_before_the_next_run(config, tmp_path, monkeypatch):
    real = tasks.evaluate_model

    def interrupted(*args):
        counts = real(*args)
        os.kill(os.getpid(), signal.SIGINT)
        return counts

    monkeypatch.setattr(tasks, "evaluate_model", interrupted)
    once = changed(config, evaluation={"every": 6})
    with pytest.raises(engine.StoppedRun, match="finished; stopped before the next run"):
        engine.train(Run("ResNet-8", once), tmp_path)
    assert Record(tmp_path).state() == "finished"


def test_a_run_that_diverged_and_was_killed_diverges_again_at_the_same_place(
    config, tmp_path, monkeypatch
):
    config = changed(config, recipe={"lr": 1e30})
    whole = train(config, tmp_path / "whole")

    def cut(model):
        raise PowerCutError

    with monkeypatch.context() as context, pytest.raises(PowerCutError):
        context.setattr(checkpoint, "weights_hash", cut)  # after the last save, before the record
        train(config, tmp_path / "broken")
    assert timeless(train(config, tmp_path / "broken")) == timeless(whole)


def test_a_run_that_was_saved_after_its_loss_became_nan_ends_where_it_would_have(
    config, tmp_path, monkeypatch
):
    config = changed(config, recipe={"lr": 1e30, "iterations": 9}, compute={"log_every": 5})
    whole = train(config, tmp_path / "whole")
    assert (whole[-1]["event"], whole[-1]["iteration"]) == ("diverged", 5)
    real, calls = Step.__call__, []

    def stop(*args):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)  # saves after this iteration
        return real(*args)

    monkeypatch.setattr(Step, "__call__", stop)
    with pytest.raises(engine.StoppedRun, match=r"saved at iteration 4 of 9"):
        train(config, tmp_path / "broken")
    assert timeless(train(config, tmp_path / "broken")) == timeless(whole)


def test_what_a_resumed_run_cannot_repeat_to_the_bit_is_said(config, tmp_path, heard):
    config = changed(config, recipe={"iterations": 1})
    train(config, tmp_path)
    (tmp_path / "record.jsonl").unlink()
    (session,) = json.loads((tmp_path / "environment.json").read_text())
    (tmp_path / "environment.json").write_text(json.dumps([{**session, "torch": "1.0"}]))
    train(config, tmp_path)
    said = [line for line in heard.messages if "will not be bit-identical" in line]
    assert len(said) == 1 and f"started with torch 1.0, resuming with {version('torch')}" in said[0]


def test_a_resumed_run_keeps_its_number_of_threads(config, tmp_path, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    train(changed(config, compute={"threads": 1}), tmp_path)
    (tmp_path / "record.jsonl").unlink()
    train(config, tmp_path)
    assert [s["threads"] for s in Record(tmp_path).environment()] == [1, 1]


def test_a_run_with_dropout_stopped_anywhere_ends_with_the_same_weights(
    config, tmp_path, monkeypatch
):
    config = changed(config, model={"shortcut": "dropout"}, compute={"save_minutes": 0.0})
    run = Run("dropout", config)
    engine.train(run, tmp_path / "whole")
    real = checkpoint.save

    def save(folder, state):
        real(folder, state)
        if state["progress"]["iteration"] == 3:
            raise PowerCutError

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(PowerCutError):
        engine.train(run, tmp_path / "broken")
    monkeypatch.undo()
    torch.rand(7)  # what was drawn in between does not matter
    engine.train(run, tmp_path / "broken")
    ends = [of(Record(tmp_path / name).events(), "finished")[0] for name in ("whole", "broken")]
    assert ends[0]["weights"] == ends[1]["weights"]


def test_a_run_on_photographs_goes_on_in_the_middle_of_an_epoch(settings, tmp_path, monkeypatch):
    """24 photographs, 16 a mini-batch: iterations end inside epochs."""
    compute = replace(settings.compute, save_minutes=0.0, workers=2)
    photo = replace(settings.recipe.photo, jitter=0.4)
    recipe = replace(settings.recipe, photo=photo)
    once = replace(settings.evaluation, every=6)
    run = Run("ResNet-8", replace(settings, compute=compute, recipe=recipe, evaluation=once))
    engine.train(run, tmp_path / "whole")
    from resnet_repro.engine.step import Step

    real, calls = Step.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) in (3, 6):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(Step, "__call__", cut)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            engine.train(run, tmp_path / "broken")
    engine.train(run, tmp_path / "broken")
    ends = [Record(tmp_path / name).events()[-1]["weights"] for name in ("whole", "broken")]
    assert ends[0] == ends[1]


def test_a_run_stopped_during_a_test_is_saved_and_goes_on(config, tmp_path):
    """A test of photographs takes minutes: longer than a cluster waits."""
    run = Run("ResNet-8", changed(config, recipe={"iterations": 9}))
    engine.train(run, tmp_path / "whole")
    steps = engine.train_stepwise(run, tmp_path / "broken", SINGLE_PROCESS, StopAfter(4))
    with pytest.raises(StoppedRun, match="stopped during a test"):
        for _ in steps:
            pass
    assert torch.load(tmp_path / "broken/last.pt")["progress"]["iteration"] == 3
    engine.train(run, tmp_path / "broken")
    whole, broken = (timeless(Record(tmp_path / each).events()) for each in ("whole", "broken"))
    assert broken == whole


@pytest.mark.parametrize("is_main", [True, False])
def test_a_run_that_another_process_trains_is_skipped_by_all_of_a_group(
    tmp_path, monkeypatch, is_main
):
    """Only the first process of the group looks at the lock."""
    monkeypatch.setattr(locks, "ATTEMPTS", 1)
    group = SimpleNamespace(broadcast=lambda found: found if is_main else "locked")
    record = Record(tmp_path, writes=is_main)
    with Record(tmp_path).locked(), pytest.raises(LockedError), locked(record, group):
        pytest.fail("it is locked")


def final(folder: Path) -> dict:
    return json.loads((the_run(folder) / "record.jsonl").read_text().splitlines()[-1])


def test_kill_9_and_the_same_line_again_end_with_the_same_weights(run_cli, tmp_path):
    words = [*SMALL, "recipe.iterations=12", "evaluation.every=4", "compute.save_minutes=0"]
    whole = run_cli(*words, "results=whole")
    assert whole.code == 0, whole.err
    (undisturbed,) = (tmp_path / "whole/runs").glob("*-seed*")

    killed = subprocess.run([sys.executable, "-c", KILL_9, *words], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL

    again = run_cli(*words)
    assert again.code == 0, again.err
    assert "resuming from iteration 5" in again.out
    expected = json.loads((undisturbed / "record.jsonl").read_text().splitlines()[-1])
    assert final(tmp_path)["weights"] == expected["weights"]
    tables = [tmp_path / root / "quickstart" for root in ("whole", "results")]
    lines = [next(t.glob("changed-*/table.md")).read_text().split("- Made by")[0] for t in tables]
    assert lines[0] == lines[1]
    assert len(json.loads((the_run(tmp_path) / "environment.json").read_text())) == 2


def test_processes_that_see_different_checkpoints_stop(tmp_path):
    """As on machines that do not share the results: they would train different weights."""

    class Pair(Group):
        def gather(self, value):
            return [8, None]

    message = r"checkpoints of different iterations \(8, none\); results= must be a folder that all"
    with pytest.raises(UserError, match=message):
        check_same(Record(tmp_path), None, Pair(size=2))
    check_same(Record(tmp_path), 8, Group())
