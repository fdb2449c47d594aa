"""Runs side by side, which take turns."""

import gc
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace
from weakref import ref

import pytest
import torch

from resnet_repro.engine import optim, streams
from resnet_repro.engine import train as engine
from resnet_repro.engine.signals import Stop
from resnet_repro.engine.train import train
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.launch import side_by_side
from resnet_repro.launch.job_queue import JobQueue
from resnet_repro.launch.side_by_side import run_interleaved
from resnet_repro.plan import Run
from resnet_repro.records import Record
from tests.support.runs import SMALL, changed
from tests.support.training import GPU


@pytest.mark.gpu
@GPU
def test_runs_side_by_side_on_a_gpu_give_what_single_runs_give(config, tmp_path):
    config = changed(config, recipe={"iterations": 30}, compute={"device": "cuda"})
    config = changed(config, compute={"deterministic": True, "runs_per_gpu": 3})
    side_by_side_gives_what_single_runs_give(config, tmp_path)


def test_runs_that_take_turns_give_what_single_runs_give(config, tmp_path):
    config = changed(config, compute={"runs_per_gpu": 2})
    side_by_side_gives_what_single_runs_give(config, tmp_path)


def side_by_side_gives_what_single_runs_give(config, tmp_path):
    runs = [Run("ResNet-8", replace(config, seed=seed)) for seed in range(3)]
    for run in runs:
        train(run, tmp_path / f"alone{run.seed}")
    jobs = [(run, tmp_path / f"beside{run.seed}") for run in runs]
    run_interleaved(JobQueue(jobs), Stop())
    for run in runs:
        alone, beside = (Record(tmp_path / f"{way}{run.seed}") for way in ("alone", "beside"))
        assert beside.events()[-1]["weights"] == alone.events()[-1]["weights"]
        ours = [e.get("num_errors") for e in beside.events()]
        assert ours == [e.get("num_errors") for e in alone.events()]


def test_the_memory_of_a_run_is_free_as_soon_as_it_ends(monkeypatch, config, tmp_path):
    """Without waiting for Python's collector: the next run needs it."""
    networks = []

    def build_optimizer(model, *words):
        assert not any(network() for network in networks)
        networks.append(ref(model))
        return optim.build_optimizer(model, *words)

    monkeypatch.setattr(engine, "build_optimizer", build_optimizer)
    config = changed(config, recipe={"iterations": 2}, compute={"runs_per_gpu": 1})
    jobs = [(Run("row", replace(config, seed=seed)), tmp_path / str(seed)) for seed in range(2)]
    gc.disable()
    try:
        run_interleaved(JobQueue(jobs), Stop())
    finally:
        gc.enable()
    assert len(networks) == 2
    assert not any(network() for network in networks)


@pytest.mark.slow
def test_runs_in_processes_side_by_side_give_what_single_runs_give(run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "num_cores", lambda: 2)
    words = [word for word in SMALL if not word.startswith("row=")]
    words += ["row=[ResNet-8,plain-8]", "seeds=[0,1]"]
    assert run_cli(*words, "compute.threads=1").code == 0
    packed = run_cli(*words, "compute.runs_per_gpu=2", "results=packed")
    assert packed.code == 0
    assert "4 runs on 2 processes" in packed.out
    ended = [
        {
            f.name: Record(f).events()[-1]["weights"]
            for f in (tmp_path / results / "runs").glob("*-seed*")
        }
        for results in ("results", "packed")
    ]
    assert ended[0] == ended[1]
    assert len(ended[0]) == 4
    sessions = Record(next((tmp_path / "packed/runs").glob("*-seed*"))).environment()
    assert sessions[0]["threads"] == 1


def take_turns_with(monkeypatch, config, tmp_path, behaviours, runs_per_gpu=3):
    """Take turns with runs that yield, or raise, as told: seed -> list of None or errors."""
    advanced, saved = [], []

    def train_stepwise(run, folder, group, stop, clock):
        for what in behaviours[run.seed]:
            if stop.is_set():
                saved.append(run.seed)
                raise StoppedRun(f"saved {run.seed}")
            if what is not None:
                behaviours[run.seed] = [None]  # the next time it goes well
                raise what
            advanced.append(run.seed)
            yield
        folder.mkdir()
        Record(folder).append("diverged", 1, reason="nan", seconds=1.0, weights="ab")

    monkeypatch.setattr(side_by_side, "train_stepwise", train_stepwise)
    config = changed(config, compute={"runs_per_gpu": runs_per_gpu})
    runs = [Run("row", replace(config, seed=seed)) for seed in range(len(behaviours))]
    jobs = [(run, tmp_path / str(run.seed)) for run in runs]
    try:
        run_interleaved(JobQueue(jobs), Stop())
    except (UserError, StoppedRun) as error:
        return advanced, saved, error
    return advanced, saved, None


def test_runs_take_turns_and_the_next_one_fills_a_gap(monkeypatch, config, tmp_path):
    work = [[None] * 2, [None] * 5, [None] * 2]
    advanced, _, error = take_turns_with(monkeypatch, config, tmp_path, work, runs_per_gpu=2)
    assert (advanced, error) == ([0, 1, 0, 1, 1, 1, 2, 1, 2], None)


@pytest.mark.parametrize(
    "other", [{"recipe": {"precision": "bf16"}}, {"compute": {"deterministic": True}}]
)
def test_a_run_that_sets_torch_otherwise_waits_unmeasured(monkeypatch, config, tmp_path, other):
    """Measuring sets what torch has once per process, in which other runs are at work."""
    measured = []

    def train_stepwise(run, folder, group, stop, clock):
        for _ in range(3):
            measured.append("step")
            yield
        folder.mkdir()
        Record(folder).append("diverged", 1, reason="nan", seconds=1.0, weights="ab")

    def gpu_fraction(config, num_left):
        measured.append(config)
        return 0.5

    monkeypatch.setattr(side_by_side, "train_stepwise", train_stepwise)
    monkeypatch.setattr(side_by_side, "gpu_fraction", gpu_fraction)
    configs = [config, changed(config, **other)]
    jobs = [(Run("row", each), tmp_path / str(n)) for n, each in enumerate(configs)]
    run_interleaved(JobQueue(jobs), Stop())
    assert measured == [configs[0], *["step"] * 3, configs[1], *["step"] * 3]


def test_too_many_side_by_side_go_on_with_fewer(monkeypatch, config, tmp_path, caplog):
    out_of_memory = torch.OutOfMemoryError("CUDA out of memory")
    work = [[None] * 3, [None] * 3, [out_of_memory]]
    monkeypatch.setattr(side_by_side.logger, "propagate", True)
    advanced, _, error = take_turns_with(monkeypatch, config, tmp_path, work)
    assert "with 3 runs side by side: continuing with 2; set compute.runs_per_gpu=2" in caplog.text
    assert (advanced.count(2), error) == (1, None)
    assert advanced.index(2) > 4, "it waits until one of the others has ended"


def test_runs_are_left_to_others_where_the_gpu_fails_since_an_error(
    monkeypatch, config, tmp_path, caplog
):
    """All calls fail after an illegal access, and each run that is tried."""
    illegal = RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    def synchronize(device):
        raise illegal

    monkeypatch.setattr(side_by_side, "synchronize", synchronize)
    monkeypatch.setattr(side_by_side.logger, "propagate", True)
    advanced, _, error = take_turns_with(
        monkeypatch, config, tmp_path, [[None, illegal], [None], [None]], runs_per_gpu=1
    )
    assert (advanced, error) == ([0], None)
    assert "the GPU fails since that error (CUDA error: an illegal memory access" in caplog.text


def test_what_stops_every_run_lets_the_others_save(monkeypatch, config, tmp_path):
    work = [[None, UserError("the data is gone")], [None] * 5, [None] * 5]
    _, saved, error = take_turns_with(monkeypatch, config, tmp_path, work)
    assert sorted(saved) == [1, 2]
    assert str(error) == "the data is gone"


def test_a_run_that_fails_does_not_stop_those_beside_it(monkeypatch, config, tmp_path):
    work = [[None, ZeroDivisionError("ours")], [None] * 5]
    advanced, _, error = take_turns_with(monkeypatch, config, tmp_path, work)
    assert (advanced.count(1), error) == (5, None)
    assert "ZeroDivisionError" in Record(tmp_path / "0").events()[-1]["reason"]


def test_the_last_run_shares_the_device_too_and_one_without_room_is_left_to_others(
    monkeypatch, config, tmp_path
):
    """Three fit; what a run fills is asked for the number of runs that may be side by side."""
    asked, begun = [], []

    def train_stepwise(run, folder, group, stop, clock):
        begun.append((run.seed, queue.num_left()))
        yield
        folder.mkdir()
        Record(folder).append("diverged", 1, reason="nan", seconds=1.0, weights="ab")

    def gpu_fraction(config, num_runs):
        asked.append(num_runs)
        return 1 / min(3, num_runs)

    monkeypatch.setattr(side_by_side, "train_stepwise", train_stepwise)
    monkeypatch.setattr(side_by_side, "gpu_fraction", gpu_fraction)
    runs = [Run("row", replace(config, seed=seed)) for seed in range(4)]
    queue = JobQueue([(run, tmp_path / str(run.seed)) for run in runs])
    run_interleaved(queue, Stop())
    assert asked[:4] == [4, 4, 4, 4]
    assert begun == [(0, 1), (1, 1), (2, 1), (3, 0)]


def test_a_run_that_ends_gives_its_stream_to_the_next(monkeypatch, config, tmp_path):
    """torch has 32, and then hands out those that are in use."""
    made = []

    class Stream:
        device_index = 0

        def __init__(self, index):
            made.append(self)

    monkeypatch.setattr(streams, "_free", defaultdict(list))
    monkeypatch.setattr(streams.torch.cuda, "Stream", Stream)
    monkeypatch.setattr(streams.torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(side_by_side, "choose_device", lambda compute: torch.device("cuda:0"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    work = [[None], [ZeroDivisionError("ours")], [None, None], [None], [None]]
    _, _, error = take_turns_with(monkeypatch, config, tmp_path, work, runs_per_gpu=2)
    assert (error, len(made)) == (None, 2)
