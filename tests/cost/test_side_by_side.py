"""How many runs at a time a CPU trains: what is timed, when, and what a plan that goes on does."""

import json
from types import SimpleNamespace

import pytest

from resnet_repro.bench.rounds import Timing
from resnet_repro.cost import side_by_side as cost
from resnet_repro.launch import side_by_side as launch
from resnet_repro.plan import Run
from resnet_repro.records import Record
from tests.support.results import SESSION
from tests.support.runs import changed


@pytest.fixture
def cpu(monkeypatch):
    """A CPU of four free cores, on which runs with a thread each are together 1.3 times as fast."""
    made = SimpleNamespace(gain=1.3, number=1, per_second=100.0, busy=0.0, timed=0)

    def in_processes(config, images):
        made.number = config.compute.runs_per_gpu or 1
        return SimpleNamespace(loop=SimpleNamespace(close=lambda: None))

    def time_loops(loops, device, num_rounds, round_seconds):
        made.timed += 1
        seconds = {"alone": 1.0, "together": made.number / made.gain}
        return {name: Timing(seconds[name], 0, 9, 1) for name in loops}

    monkeypatch.setattr(cost, "in_processes", in_processes)
    monkeypatch.setattr(cost, "time_loops", time_loops)
    monkeypatch.setattr(cost, "images_per_second", lambda config: made.per_second)
    monkeypatch.setattr(cost, "busy_cores", lambda: made.busy)
    monkeypatch.setattr(cost, "free_cores", lambda busy: int(4 - busy))
    monkeypatch.setattr(cost, "threads_asked", lambda: None)
    for module in (cost, launch):
        monkeypatch.setattr(module, "num_cores", lambda: 4)
    return made


@pytest.fixture
def long(config):
    return changed(config, recipe={"iterations": 64_000, "batch_size": 128})


def test_the_faster_number_is_timed_once_and_kept(cpu, long, tmp_path):
    assert cost.best_on_cpu(long, 10, tmp_path) == 4
    assert cost.best_on_cpu(long, 10, tmp_path) == 4
    assert cpu.timed == 1
    cpu.gain = 1.04  # for two runs it is timed anew: no gain that is worth it
    assert cost.best_on_cpu(long, 2, tmp_path) == 1
    assert cpu.timed == 2
    kept = json.loads((tmp_path / "calibration.json").read_text())["side_by_side"]
    assert sorted(each["gain"] for each in kept.values()) == [1.04, 1.3]


def test_nothing_is_timed_where_it_is_settled_or_not_worth_it(cpu, long, tmp_path, monkeypatch):
    assert cost.best_on_cpu(long, 1, tmp_path) == 1
    assert cost.best_on_cpu(changed(long, compute={"threads": 2}), 10, tmp_path) == 1
    assert cost.best_on_cpu(changed(long, recipe={"iterations": 200}), 10, tmp_path) == 1
    cpu.busy = 2.0
    assert cost.best_on_cpu(long, 10, tmp_path) == 1
    cpu.busy = 0.0
    monkeypatch.setattr(cost, "available_bytes", lambda: 10_000)
    assert cost.best_on_cpu(long, 10, tmp_path) == 1
    monkeypatch.setattr(cost, "threads_asked", lambda: 4)
    assert cost.best_on_cpu(long, 10, tmp_path) == 1
    assert cpu.timed == 0


def test_runs_that_began_with_more_threads_go_on_one_at_a_time(cpu, long, tmp_path):
    """They keep their threads, for the same bits; those that are finished do not count."""
    jobs = [(Run("ResNet-8", long), tmp_path / "runs" / f"seed{seed}") for seed in range(3)]
    assert launch.num_workers(jobs) == 3

    def begin(folder, threads):
        record = Record(folder)
        with record.locked():
            record.add_session({**SESSION, "threads": threads})

    begin(jobs[0][1], 1)
    assert launch.num_workers(jobs) == 3
    begin(jobs[1][1], 4)
    assert launch.num_workers(jobs) == 1
    with Record(jobs[1][1]).locked():
        Record(jobs[1][1]).append("finished", 9, seconds=1.0, weights="0" * 16)
    assert launch.num_workers(jobs) == 2
    assert launch.num_workers(jobs[:2]) == 1
