"""How a CPU trains runs: what is timed, when, and what a plan that goes on does."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from resnet_repro.bench import variants
from resnet_repro.bench.rounds import Timing
from resnet_repro.cost import layout
from resnet_repro.cost import side_by_side as cost
from resnet_repro.errors import UserError
from resnet_repro.launch import on_cpu, side_by_side
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.records.runs import run_folder
from tests.support.results import SESSION
from tests.support.runs import changed


@pytest.fixture
def cpu(monkeypatch):
    """A CPU of four free cores, on which runs with a thread each are together 1.3 times as fast."""
    made = SimpleNamespace(gain=1.3, number=1, runs=1, per_second=100.0, busy=0.0, timed=0)

    def in_processes(config, images):
        runs, processes = config.compute.runs_per_gpu or 1, config.compute.processes or 1
        made.number, made.runs = runs * processes, runs
        return SimpleNamespace(loop=SimpleNamespace(close=lambda: None), number=runs)

    def time_loops(loops, device, num_rounds, round_seconds):
        made.timed += 1
        seconds = {"usual": 1.0, "other": made.runs / made.gain}
        return {name: Timing(seconds[name], 0, 9, 1) for name in loops}

    monkeypatch.setattr(variants, "in_processes", in_processes)
    monkeypatch.setattr(cost, "time_loops", time_loops)
    monkeypatch.setattr(cost, "images_per_second", lambda config: made.per_second)
    monkeypatch.setattr(cost, "busy_cores", lambda: made.busy)
    monkeypatch.setattr(cost, "free_cores", lambda busy: int(4 - busy))
    monkeypatch.setattr(cost, "threads_asked", lambda: None)
    for module in (cost, layout, side_by_side, on_cpu):
        monkeypatch.setattr(module, "num_cores", lambda: 4)
    return made


@pytest.fixture
def long(config):
    return changed(config, recipe={"iterations": 64_000, "batch_size": 128})


def test_the_faster_number_is_timed_once_and_kept(cpu, long, tmp_path):
    assert cost.best_runs_on_cpu(long, 10, tmp_path) == 4
    assert cost.best_runs_on_cpu(long, 10, tmp_path) == 4
    assert cpu.timed == 1
    cpu.gain = 1.04  # for two runs it is timed anew: no gain that is worth it
    assert cost.best_runs_on_cpu(long, 2, tmp_path) == 1
    assert cpu.timed == 2
    kept = json.loads((tmp_path / "calibration.json").read_text())["side_by_side"]
    assert sorted(each["gain"] for each in kept.values()) == [1.04, 1.3]


def test_nothing_is_timed_where_it_is_settled_or_not_worth_it(cpu, long, tmp_path, monkeypatch):
    assert cost.best_runs_on_cpu(long, 1, tmp_path) == 1
    assert cost.best_runs_on_cpu(changed(long, compute={"threads": 2}), 10, tmp_path) == 1
    assert cost.best_runs_on_cpu(changed(long, recipe={"iterations": 200}), 10, tmp_path) == 1
    cpu.busy = 2.0
    assert cost.best_runs_on_cpu(long, 10, tmp_path) == 1
    cpu.busy = 0.0
    monkeypatch.setattr(cost, "available_bytes", lambda: 10_000)
    assert cost.best_runs_on_cpu(long, 10, tmp_path) == 1
    monkeypatch.setattr(cost, "threads_asked", lambda: 4)
    assert cost.best_runs_on_cpu(long, 10, tmp_path) == 1
    assert cpu.timed == 0


def test_a_timing_that_fails_stops_no_run(cpu, long, tmp_path, monkeypatch, caplog):
    """As where a container has no memory that processes can share, or kills one of them."""

    def dies(*_):
        raise EOFError

    monkeypatch.setattr(cost, "time_loops", dies)
    monkeypatch.setattr(cost.logger, "propagate", True)
    assert cost.best_runs_on_cpu(long, 10, tmp_path) == 1
    assert layout.best_layout_on_cpu(long, tmp_path) is None
    assert "the timing failed (EOFError); using the default" in caplog.messages
    assert not (tmp_path / "calibration.json").exists()


def test_missing_data_is_said_before_a_timing(cpu, long, tmp_path):
    missing = changed(long, data={"name": "folder", "root": "nowhere", "generate": None})
    run = Run("ResNet-8", missing)
    for ask in (
        lambda: on_cpu.with_layout([run], tmp_path),
        lambda: on_cpu.with_processes([run], tmp_path),
        lambda: cost.best_runs_on_cpu(missing, 10, tmp_path),
    ):
        with pytest.raises(UserError, match="there is no folder nowhere"):
            ask()
    assert cpu.timed == 0


def begin(folder, **session):
    record = Record(folder)
    with record.locked():
        record.add_session({**SESSION, **session})
        record.note_saved(1)


def finish(folder):
    record = Record(folder)
    with record.locked():
        record.append("finished", 9, seconds=1.0, weights="0" * 16)


def test_runs_that_began_with_more_threads_go_on_one_at_a_time(cpu, long, tmp_path):
    """They keep their threads, for the same bits; those that are finished do not count."""
    jobs = [(Run("ResNet-8", long), tmp_path / "runs" / f"seed{seed}") for seed in range(3)]
    assert side_by_side.num_workers(jobs) == 3
    begin(jobs[0][1], threads=1)
    assert side_by_side.num_workers(jobs) == 3
    begin(jobs[1][1], threads=4)
    assert side_by_side.num_workers(jobs) == 1
    finish(jobs[1][1])
    assert side_by_side.num_workers(jobs) == 2
    assert side_by_side.num_workers(jobs[:2]) == 1


def test_a_single_run_has_the_fastest_number_of_processes_and_keeps_it(cpu, long, tmp_path):
    long = changed(long, recipe={"bn_batch": 64})  # two groups, so at most two processes
    one, other = (Run("ResNet-8", replace(long, seed=seed)) for seed in (0, 1))

    def processes(*runs):
        divided = on_cpu.with_processes(list(runs), tmp_path)
        assert [run.id for run in divided] == [run.id for run in runs]
        return [run.config.compute.processes for run in divided]

    assert processes(one) == [2]
    assert cpu.number == 2
    assert processes(one, other) == [None, None]  # side by side
    begin(run_folder(one, tmp_path), processes=2, threads=1)
    assert processes(one, other) == [2, None]
    finish(run_folder(one, tmp_path))
    assert processes(one, other) == [None, 2]
    begin(run_folder(other, tmp_path), processes=1, threads=4)
    assert processes(one, other) == [None, None]
    set_to_one = changed(long, compute={"processes": 1})
    assert processes(replace(one, config=replace(set_to_one, seed=5))) == [1]


def layouts(results, *runs):
    """Return the memory formats that a plan gives to runs."""
    return [run.config.compute.channels_last for run in on_cpu.with_layout(list(runs), results)]


@pytest.mark.parametrize(("gain", "last"), [(1.3, True), (0.9, False)])
def test_the_faster_memory_format_is_timed_once_per_network(
    cpu, long, tmp_path, monkeypatch, gain, last
):
    cpu.gain, timed = gain, []
    real = variants.in_processes
    monkeypatch.setattr(
        variants,
        "in_processes",
        lambda config, _: timed.append(config.compute) or real(config, None),
    )
    long = changed(long, compute={"runs_per_gpu": 2})  # one of each format is timed all the same
    one, other = (Run("ResNet-8", replace(long, seed=seed)) for seed in (0, 1))
    bf16 = Run("ResNet-8", changed(long, recipe={"precision": "bf16"}))
    assert layouts(tmp_path, one, other) == [last, last]
    cpu.busy = 2.0  # what is kept counts also then
    assert layouts(tmp_path, other) == [last]
    cpu.busy = 0.0
    assert [(each.channels_last, each.runs_per_gpu) for each in timed] == [(False, 1), (True, 1)]
    cpu.gain = 1 / gain
    assert layouts(tmp_path, one, bf16) == [last, not last]
    assert len(timed) == 4
    begin(run_folder(one, tmp_path), execution="eager")  # keeps what it has
    assert layouts(tmp_path, one, other) == [None, last]


def test_a_memory_format_that_is_set_or_not_worth_it_is_not_timed(cpu, long, tmp_path):
    for fields in (
        {"compute": {"channels_last": False}},
        {"compute": {"fused": True}},
        {"compute": {"threads": 2}},
        {"recipe": {"iterations": 200}},
    ):
        run = Run("ResNet-8", changed(long, **fields))
        assert layouts(tmp_path, run) == [run.config.compute.channels_last]
    cpu.busy = 1.0
    assert layouts(tmp_path, Run("ResNet-8", long)) == [None]
    assert cpu.timed == 0
