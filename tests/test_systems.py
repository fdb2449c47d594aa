"""What systems do to a program: signals, closed streams, pipes, limits, odd environments."""

import errno
import fcntl
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PATIENCE, ROOT, SMALL
from torch.utils.data import Dataset

from resnet_repro import files
from resnet_repro.cli import main as cli
from resnet_repro.data import readers
from resnet_repro.data.decode import UnreadableImage
from resnet_repro.data.photos import Photos, read
from resnet_repro.data.readers import Batch, load
from resnet_repro.distributed import group
from resnet_repro.distributed.started import Place, started_by_others
from resnet_repro.errors import UserError, shortage
from resnet_repro.launch import side_by_side
from resnet_repro.records import Record

LONG = ("recipe.iterations=100000", "evaluation.every=100000", "compute.log_every=1")
TORCHRUN = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8",
            "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}  # fmt: skip
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "77", "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": "8(x1)"}  # fmt: skip


def start(tmp_path, *words, **options):
    with (tmp_path / "out").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "resnet_repro", *SMALL, *LONG, *words],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            stdout=out,
            **{"stderr": subprocess.STDOUT, **options},
        )


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def measured(tmp_path):
    return sum(p.read_text().count('"train"') for p in tmp_path.glob("results/runs/*/record.jsonl"))


def test_nohup_with_closed_streams_trains_on_and_sigusr1_saves(tmp_path):
    def as_nohup():
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.close(0)
        os.close(2)

    process = start(tmp_path, preexec_fn=as_nohup)
    try:
        wait_for(lambda: measured(tmp_path) > 1, process)
        for number in (signal.SIGHUP, signal.SIGINT):
            process.send_signal(number)
        before = measured(tmp_path)
        wait_for(lambda: measured(tmp_path) > before + 1, process)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
    (run,) = (tmp_path / "results/runs").glob("*-seed*")
    assert Record(run).iteration() > 0
    for name in ("config.yaml", "environment.json", "record.jsonl", "lock", "saved"):
        assert "stopping" not in (run / name).read_text()  # file 2 is none of ours


def test_a_signal_to_all_processes_while_they_import_stops_them_in_order(tmp_path):
    process = start(tmp_path, "compute.processes=2", "recipe.bn_batch=8")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.is_file():
        pytest.skip("no /proc tells which processes a process started")
    try:
        wait_for(lambda: len(children.read_text().split()) >= 3, process)  # one is Python's own
        os.killpg(process.pid, signal.SIGUSR2)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
    out = (tmp_path / "out").read_text()
    assert "stopped before it began" in out
    assert "Traceback" not in out


def test_torchrun_and_srun_tell_who_we_are():
    assert started_by_others({}) is None
    assert started_by_others({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert started_by_others({"RANK": "0", "WORLD_SIZE": ""}) is None
    assert started_by_others({"WORLD_SIZE": "4"}) is None  # of a job script, for another program
    assert started_by_others(TORCHRUN) == Place(9, 16, 1, 8, "node1", 29500)
    # In a batch script SLURM_PROCID and SLURM_NTASKS are set too, but it is one process.
    assert started_by_others({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) is None
    assert started_by_others(SRUN) == Place(3, 8, 1, 8, "127.0.0.1", 20077)
    several = {**SRUN, "SLURM_STEP_NUM_NODES": "4", "SLURM_STEP_NODELIST": "localhost,gpu[03-05]"}
    assert started_by_others(several).address == "127.0.0.1"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({**TORCHRUN, "MASTER_ADDR": ""}, "MASTER_ADDR not: start the processes with torchrun"),
        ({**TORCHRUN, "MASTER_PORT": "http"}, "MASTER_PORT=http in the environment"),
        ({**TORCHRUN, "WORLD_SIZE": "two"}, "WORLD_SIZE=two in the environment"),
        ({**TORCHRUN, "RANK": "16"}, "RANK=16 in the environment: must be 0 to 15 with WORLD_SIZE"),
        ({**TORCHRUN, "LOCAL_RANK": "-1"}, "LOCAL_RANK=-1 in the environment"),
        ({**SRUN, "SLURM_PROCID": "8"}, "SLURM_PROCID=8 in the environment: must be 0 to 7"),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1e3"}, "SLURM_STEP_NUM_TASKS=1e3"),
    ],
)
def test_an_environment_that_contradicts_itself_is_named(environ, words):
    with pytest.raises(UserError, match=words):
        started_by_others(environ)


@pytest.mark.parametrize(("rank", "whom"), [(0, "the other one"), (1, "process 0")])
def test_a_process_says_for_whom_it_waits_and_gives_up(run_cli, monkeypatch, rank, whom):
    monkeypatch.setattr(group, "SAY_SECONDS", 0.1)
    monkeypatch.setattr(group, "GIVE_UP_SECONDS", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    port = group.free_port()
    for name, value in {"WORLD_SIZE": "2", "RANK": str(rank)}.items():
        monkeypatch.setenv(name, value)
    lacking = run_cli(*SMALL)
    assert lacking.code == 1
    assert "MASTER_ADDR and MASTER_PORT not" in lacking.err
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    outcome = run_cli(*SMALL)
    assert outcome.code == 1
    assert f"process {rank} of 2 waits for {whom} at 127.0.0.1:{port}" in outcome.err
    assert f"process {rank} of 2 could not connect to the others at 127.0.0.1" in outcome.err


def test_a_file_system_without_locks_costs_a_word(run_cli, monkeypatch, tmp_path):
    answer = errno.ENOLCK

    def flock(*_):
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(files, "_without_locks", set())
    words = (*SMALL, "recipe.iterations=1", "recipe.lr_drops=[]")
    outcome = run_cli(*words, "seeds=[0,1]")
    assert outcome.code == 0
    assert outcome.err.count("two processes are not kept apart") == 1
    assert "done" in run_cli("status", *words).out
    for answer in (errno.ENOSYS, errno.EOPNOTSUPP):  # noqa: B007 - `flock` reads it
        with Record(tmp_path / "run").locked():
            assert not Record(tmp_path / "run").is_running()


def test_what_a_stream_cannot_show_is_shown_in_ascii(run_cli, monkeypatch, tmp_path):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert run_cli("table", *SMALL).code == 0
    print("Schärfe ≤ 日", flush=True)
    text = stream.buffer.getvalue().decode("ascii")
    assert "mean +- standard deviation" in text
    assert text.endswith("Scharfe <= ?\n")


def test_a_deleted_working_directory_is_said(monkeypatch, tmp_path, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "argv", ["resnet-repro", "list"])
    assert cli.main() == 1
    assert "the working directory cannot be used" in capsys.readouterr().err


def test_a_named_pipe_is_refused_where_a_file_is_wanted(run_cli, tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    outcome = run_cli("import", f"weights={pipe}")
    assert outcome.code == 1
    assert f"{pipe}: that is not a file" in outcome.err
    assert run_cli("table", *SMALL, f"results={pipe}").code == 1
    photos = Photos(tmp_path, np.array([b"pipe.jpg"]), np.array([0]))
    with pytest.raises(UnreadableImage, match="there is no such file"):
        read(photos, 0)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("lock", "record.jsonl"):
        os.mkfifo(run / name)
    with pytest.raises(UserError, match="lock is a pipe"), Record(run).locked():
        pass
    with pytest.raises(OSError, match="not a regular file"):
        Record(run).append("warmup_end", 1, train_error=50.0)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory. "),
        (MemoryError(), "out of memory. compute.recompute=2 needs much less"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Or recipe.bn_batch=8 needs about 50%"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "was killed;"),
        (RuntimeError("DataLoader timed out after 300 seconds"), "disk of data.root does not"),
    ],
)
def test_what_a_machine_lacks_is_said_in_a_line(run_cli, monkeypatch, error, words):
    def raises(*_):
        raise error
        yield

    monkeypatch.setattr(side_by_side, "train_stepwise", raises)
    outcome = run_cli(*SMALL)
    assert outcome.code == 1
    assert words in outcome.err
    assert "Traceback" not in outcome.out + outcome.err
    assert "failed: " in run_cli("status", *SMALL).out


def test_a_shortage_outside_of_a_run_is_said_in_a_line(run_cli, monkeypatch):
    def table(_):
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setitem(cli.VERBS, "table", table)
    outcome = run_cli("table", *SMALL)
    assert outcome.code == 1
    assert outcome.err.startswith("resnet-repro: out of memory. `ulimit -v`")


class Numbered(Dataset):
    """Batches of a number each; a reader of number 2 does what it is told to."""

    def __init__(self, act=lambda: None):
        self.act = act

    def __getitem__(self, number):
        if number == 2:
            self.act()
        full = torch.full((2, 3, 8, 8), number, dtype=torch.uint8)
        return Batch(full, torch.tensor([number, 0]), torch.empty(0), [str(number)])


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(readers.logger, "warning", lambda text, *words: lines.append(text % words))
    readers._say_that_shared_memory_is_small.cache_clear()
    yield lines
    readers._say_that_shared_memory_is_small.cache_clear()


@pytest.mark.parametrize("short_of", ["nothing", "room", "files"])
def test_readers_hand_over_the_same_without_shared_memory(monkeypatch, said, short_of):
    def fails(_):
        raise RuntimeError("unable to open shared memory object: Too many open files (24)")

    if short_of == "room":
        monkeypatch.setattr(readers, "LEFT_FREE", 1 << 60)
    if short_of == "files":
        monkeypatch.setattr(torch.Tensor, "share_memory_", fails)
    loaded = list(load(Numbered(), range(5), 2, pin=False))
    assert [batch.unreadable for batch in loaded] == [["0"], ["1"], ["2"], ["3"], ["4"]]
    for number, batch in enumerate(loaded):
        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.eq(number).all()
        assert batch.numbers.tolist() == [number, 0]
    assert len(said) == (short_of != "nothing")
    assert all("--shm-size" in line for line in said)


def test_a_reader_that_dies_or_stalls_ends_the_loading(monkeypatch):
    monkeypatch.setattr(readers, "STALL_SECONDS", 1)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    for act, words in (
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed"),
        (lambda: time.sleep(1000), "does not answer"),
    ):
        with pytest.raises(RuntimeError) as caught:
            list(load(Numbered(act), range(5), 2, pin=False))
        assert words in shortage(caught.value)
