"""Several processes that train together do what one does, and end together."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PATIENCE, ROOT, SMALL, changed

from resnet_repro.cli import main as cli
from resnet_repro.data.feed import share
from resnet_repro.distributed.group import Group
from resnet_repro.engine.device import num_processes
from resnet_repro.errors import UserError
from resnet_repro.launch.local import carry_out
from resnet_repro.launch.processes import run_together
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.settings.recipe import RecipeConfig, WarmupConfig

ALONE = Group()
LONG = ("recipe.iterations=100000", "evaluation.every=100000", "compute.log_every=1")


@pytest.fixture
def start(tmp_path):
    """Start the command line as a process group of its own; what is left of it ends with us."""
    started = []

    def call(*words, launcher=()):
        threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, *launcher, "-m", "resnet_repro", *SMALL, *words],
            cwd=tmp_path,
            env={**os.environ, **threads},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until_it_trains(tmp_path, process):
    def measured():
        records = list(tmp_path.glob("results/runs/*/record.jsonl"))
        return records[0].read_text().count('"train"') if records else 0

    before, deadline = measured(), time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if measured() > before:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


def pair_of(process):
    """Return the two processes that a process started."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not path.is_file():
        pytest.skip("no /proc tells which processes a process started")
    found = [int(pid) for pid in path.read_text().split()]
    pair = [p for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
    assert len(pair) == 2
    return pair


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


def test_two_processes_do_what_one_does(config, tmp_path):
    """Weights, averages, errors, counts and responses, with groups of batch norm."""
    warmup = WarmupConfig(lr=0.01, until_train_error=99)
    config = changed(config, recipe={"warmup": warmup, "weight_decay": 1e-3})
    config = changed(config, evaluation={"responses": True})
    run = Run("ResNet-8", config)
    carry_out(run, tmp_path / "one", ALONE)
    run_together(carry_out, 2, run, tmp_path / "two")
    one, two = (torch.load(tmp_path / name / "last.pt") for name in ("one", "two"))
    for name, tensor in one["model"].items():
        if name.endswith("num_batches_tracked"):  # counts groups, and nothing looks at it
            continue
        torch.testing.assert_close(two["model"][name], tensor, atol=2e-6, rtol=2e-5, msg=name)
    one, two = (Record(tmp_path / name) for name in ("one", "two"))
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
        assert re.search(r"saved at iteration \d+ of 120; the same line goes on from there", out)
    assert run_cli(*SMALL, *words).code == 0
    hashes = [
        Record(next((tmp_path / name / "runs").glob("*-seed*"))).events()[-1]["weights"]
        for name in ("whole", "results")
    ]
    assert hashes[0] == hashes[1]


def test_a_process_that_dies_takes_the_others_down(tmp_path, start):
    process = start("compute.processes=2", "recipe.bn_batch=8", *LONG)
    wait_until_it_trains(tmp_path, process)
    pair = pair_of(process)
    os.kill(pair[1], signal.SIGKILL)
    out = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert "process 1 of 2 died (SIGKILL); the others were ended; the kernel does so" in out
    assert "Traceback" not in out
    assert not any(map(is_alive, pair))
    (run,) = (tmp_path / "results" / "runs").glob("*-seed*")
    assert Record(run).state() == "failed"


def test_the_others_end_with_the_process_that_started_them(tmp_path, start):
    process = start("compute.processes=2", "recipe.bn_batch=8", *LONG)
    wait_until_it_trains(tmp_path, process)
    pair = pair_of(process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and any(map(is_alive, pair)):
        time.sleep(0.1)
    assert not any(map(is_alive, pair))


def test_torchruns_processes_train_one_network(tmp_path, start):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    process = start("recipe.bn_batch=8", launcher=launcher)
    out = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, out
    assert out.count("1 to train") == out.count("Written:") == 1, out  # one speaks for both
    (run,) = (tmp_path / "results" / "runs").glob("*-seed*")
    assert Record(run).environment()[0]["processes"] == 2


def test_a_users_mistake_is_said_once(tmp_path, monkeypatch, capfd):
    words = ["compute.processes=2", "recipe.bn_batch=8", "data.image_size=9",
             "recipe.crop_padding=1", "data.num_validation=200"]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["resnet-repro", *SMALL, *words])
    assert cli.main() == 1
    out = "".join(capfd.readouterr())  # of all processes
    assert out.count("data.num_validation=200 of 100 training images") == 1, out
    assert "Traceback" not in out


def test_a_mini_batch_is_shared_in_whole_groups():
    recipe = RecipeConfig(iterations=1, batch_size=256, bn_batch=32, lr=0.1)
    assert [share(recipe, Group(rank, 4)) for rank in (0, 3)] == [slice(0, 64), slice(192, 256)]
    with pytest.raises(UserError, match=r"3 processes cannot share the 8 groups"):
        share(recipe, Group(0, 3))
    with pytest.raises(UserError, match=r"16 processes"):
        share(recipe, Group(0, 16))


@pytest.mark.parametrize(("gpus", "expected"), [(0, 1), (1, 1), (4, 4), (6, 4), (8, 8), (12, 8)])
def test_photographs_take_every_gpu_that_fits(config, monkeypatch, gpus, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    config = changed(config, recipe={"batch_size": 256, "bn_batch": 32}, compute={"device": "auto"})
    assert num_processes(config) == 1  # images in memory
    photographs = replace(
        config,
        data=replace(config.data, name="imagenet", generate=None),
        recipe=replace(config.recipe, crop_padding=0),
        evaluation=replace(config.evaluation, protocol="one_crop", sizes=[20], crop=16),
    )
    assert num_processes(photographs) == expected
