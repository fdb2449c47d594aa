"""The threads of runs, on a machine that others use too."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from resnet_repro import machine
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine import device, log
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.resume import as_before
from resnet_repro.engine.train import train
from resnet_repro.launch import side_by_side
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.settings.compute import ComputeConfig
from tests.support.results import SESSION
from tests.support.runs import SMALL, changed


def test_a_run_divided_otherwise_takes_its_share_of_the_cores(config, tmp_path):
    """Not the threads that one process had: its bits are other ones anyway."""
    record = Record(tmp_path)
    record.add_session({**SESSION, "device": "cpu", "threads": 8, "processes": 1})
    assert as_before(config.compute, record, SINGLE_PROCESS).threads != 8  # it saved nothing
    record.note_saved(5)
    assert as_before(config.compute, record, SINGLE_PROCESS).threads == 8
    assert as_before(config.compute, record, Group(1, 4)).threads is None


@pytest.fixture
def shared(monkeypatch):
    """Put two cores in place of this machine's, so many of them busy; nothing sets the threads."""

    def call(busy):
        monkeypatch.setattr(machine, "_allowed", lambda: {0, 1})
        monkeypatch.setattr(machine, "_quota", lambda: None)
        monkeypatch.setattr(device, "MOST_THREADS", 2)
        monkeypatch.setattr(device, "busy_cores", lambda: busy)
        monkeypatch.delenv("OMP_NUM_THREADS")
        monkeypatch.delenv("MKL_NUM_THREADS")

    before = torch.get_num_threads()
    yield call
    torch.set_num_threads(before)


def threads(folder):
    return [session["threads"] for session in Record(folder).environment()]


def test_a_run_takes_the_cores_that_are_free_when_it_starts_and_keeps_them(
    config, tmp_path, shared, monkeypatch, caplog
):
    monkeypatch.setattr(device.logger, "propagate", True)
    run = Run("ResNet-8", changed(config, recipe={"iterations": 1}))
    shared(1.0)
    with caplog.at_level("INFO"):
        train(run, tmp_path / "run")
    said = "1 of 2 cores is busy: training with 1 thread; compute.threads=2 uses all cores"
    assert said in caplog.messages
    caplog.clear()
    monkeypatch.setattr(device, "busy_cores", lambda: 0.2)
    (tmp_path / "run/record.jsonl").unlink()
    train(run, tmp_path / "run")
    assert threads(tmp_path / "run") == [1, 1]
    train(run, tmp_path / "other")  # in the process of a run that took fewer
    assert threads(tmp_path / "other") == [2]
    assert "busy" not in caplog.text


def test_a_run_that_moves_to_a_cpu_takes_its_free_cores_and_keeps_them(config, tmp_path, shared):
    shared(1.0)
    record = Record(tmp_path)
    gpu = {"device": "NVIDIA H100", "threads": 16, "execution": "channels_last accumulate triton"}
    record.note_saved(5)
    record.add_session({**SESSION, **gpu})
    moved = as_before(config.compute, record, SINGLE_PROCESS)
    assert moved == replace(config.compute, threads=1)
    record.add_session({**SESSION, "device": "cpu", "threads": 2, "execution": "channels_last"})
    again = as_before(config.compute, record, SINGLE_PROCESS)
    assert again == replace(config.compute, threads=2, channels_last=True)


def test_a_session_that_saved_nothing_leaves_nothing(config, tmp_path, shared, caplog):
    """It was killed on a busy machine before its first checkpoint."""
    shared(0.2)
    record = Record(tmp_path / "run")
    with record.locked():
        record.add_session({**SESSION, "threads": 1, "data": "0123456789abcdef"})
    run = Run("ResNet-8", changed(config, recipe={"iterations": 1}))
    train(run, tmp_path / "run")
    assert threads(tmp_path / "run") == [2]
    assert "bit-identical" not in caplog.text


@pytest.mark.parametrize("word", ["1", "1,2", " 1 "])
def test_what_the_user_sets_is_not_looked_at_again(config, tmp_path, shared, monkeypatch, word):
    shared(0.0)
    monkeypatch.setattr(device, "busy_cores", lambda: pytest.fail("it is set"))
    train(Run("ResNet-8", changed(config, compute={"threads": 1})), tmp_path / "setting")
    monkeypatch.setenv("OMP_NUM_THREADS", word)
    train(Run("ResNet-8", config), tmp_path / "environment")
    assert threads(tmp_path / "setting") == threads(tmp_path / "environment") == [1]


def test_runs_side_by_side_share_the_free_cores(config, tmp_path, shared, monkeypatch):
    shared(0.0)
    given = []
    monkeypatch.setattr(
        side_by_side, "run_in_processes", lambda *args, joined: given.append((args[-1], joined))
    )
    jobs = [(Run("ResNet-8", config), tmp_path)] * 2
    for most, busy, each in ((8, 0.0, 4), (8, 5.0, 1), (8, 3.0, 2)):
        monkeypatch.setattr(machine, "_allowed", lambda most=most: set(range(most)))
        monkeypatch.setattr(device, "MOST_THREADS", most)
        monkeypatch.setattr(device, "busy_cores", lambda busy=busy: busy)
        two = changed(config, compute={"runs_per_gpu": 2})
        side_by_side.run_side_by_side([(Run("ResNet-8", two), folder) for _, folder in jobs])
        assert given.pop() == (each, False)  # these processes have nothing to exchange


def test_a_quota_that_torch_does_not_know_limits_its_threads(config, shared, monkeypatch):
    shared(0.0)
    choose_execution(config)
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(machine, "_quota", lambda: 1.5)
    choose_execution(config)
    assert torch.get_num_threads() == 1


def test_what_torch_has_once_per_process_is_that_of_the_last_run(config):
    for deterministic in (True, False):
        choose_execution(changed(config, compute={"deterministic": deterministic}))
        assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_a_run_that_other_programs_slow_down_says_so_once(run_cli, monkeypatch):
    """It falls to a third at the second measurement: two threads, and one of two cores is busy."""
    clock, busy = [0.0], [0.0]

    class Watch:
        def busy_cores(self):
            return busy[0]

    class Log(log.Log):
        def __init__(self, run, record, iteration, seconds, *_):
            super().__init__(run, record, iteration, seconds, lambda: clock[0], Watch())

        def step(self, num_images):
            clock[0] += 1.0 if clock[0] < 2 else 3.0
            busy[0] = float(clock[0] > 2)
            super().step(num_images)

    monkeypatch.setattr("resnet_repro.engine.train.Log", Log)
    monkeypatch.setattr(machine, "_allowed", lambda: {0, 1})
    monkeypatch.setattr(machine, "_quota", lambda: None)
    monkeypatch.setattr(log, "torch", SimpleNamespace(get_num_threads=lambda: 2))
    outcome = run_cli(*SMALL)
    assert outcome.code == 0
    (line,) = [line for line in outcome.err.splitlines() if "images/s" in line]
    assert "down from 16 to 5 images/s, as 1 of 2 cores is busy." in line
    assert "compute.threads=1" in line


def test_the_children_of_runs_side_by_side_are_told_their_threads(monkeypatch):
    monkeypatch.setattr(side_by_side, "run_interleaved", lambda *args: None)
    monkeypatch.setattr(side_by_side.logger, "handlers", [side_by_side.logging.NullHandler()])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")  # what it was comes back after the test
    side_by_side._worker_main([], None, 3, side_by_side.Group(0, 2))
    assert device.num_threads(ComputeConfig()) == device.free_threads() == 3
