"""Processes that torchrun or srun started: who they are, and for whom they wait."""

import socket

import pytest
import torch

from resnet_repro.distributed import joined, joining, started
from resnet_repro.distributed.group import Group
from resnet_repro.distributed.started import RankInfo, started_by_others
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.records import Record
from tests.support.runs import PATIENCE, SMALL


@pytest.mark.slow
def test_torchruns_processes_train_one_network(tmp_path, start):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    process = start("recipe.bn_batch=8", launcher=launcher)
    out = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, out
    assert out.count("1 to train") == out.count("Written:") == 1, out  # one speaks for both
    (run,) = (tmp_path / "results" / "runs").glob("*-seed*")
    assert Record(run).environment()[0]["processes"] == 2


TORCHRUN = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8",
            "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}  # fmt: skip
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "77", "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": "8(x1)"}  # fmt: skip


def test_torchrun_and_srun_tell_who_we_are():
    assert started_by_others({}) is None
    assert started_by_others({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert started_by_others({"RANK": "0", "WORLD_SIZE": ""}) is None
    assert started_by_others({"WORLD_SIZE": "4"}) is None  # of a job script, for another program
    assert started_by_others(TORCHRUN) == RankInfo(9, 16, 1, 8, "node1", 29500)
    # In a batch script SLURM_PROCID and SLURM_NTASKS are set too, but it is one process.
    assert started_by_others({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) is None
    assert started_by_others(SRUN) == RankInfo(3, 8, 1, 8, "127.0.0.1", 20077)
    several = {**SRUN, "SLURM_STEP_NUM_NODES": "4", "SLURM_STEP_NODELIST": "localhost,gpu[03-05]"}
    assert started_by_others(several).address == "127.0.0.1"
    # Linux gives ports from 32768 on to outgoing connections.
    assert started_by_others({**SRUN, "SLURM_JOB_ID": "13999"}).port == 21_999


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu[03-05,7],other", "gpu03"),
        ("n[1-2]-ib,other", "n1-ib"),
        ("rack[0-1]n[12,14]-ib", "rack0n12-ib"),
        ("a,rack[0-1]n[12,14]", "a"),
    ],
)
def test_the_first_of_slurms_nodes_is_where_rank_0_is(monkeypatch, nodes, first):
    monkeypatch.setattr(started.socket, "gethostbyname", lambda name: f"address of {name}")
    several = {**SRUN, "SLURM_STEP_NUM_NODES": "4", "SLURM_STEP_NODELIST": nodes}
    assert started_by_others(several).address == f"address of {first}"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({**TORCHRUN, "MASTER_ADDR": ""}, "without MASTER_ADDR: start the processes with torchrun"),
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


def _port(request, listens):
    """Return a port that is free to listen at, or where nobody will listen during the test."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    port = held.getsockname()[1]
    if listens:
        held.close()
    else:
        request.addfinalizer(held.close)
    return port


@pytest.mark.parametrize(("rank", "whom"), [(0, "the other one"), (1, "process 0")])
def test_a_process_says_for_whom_it_waits_and_gives_up(run_cli, monkeypatch, request, rank, whom):
    monkeypatch.setattr(joining, "WARN_SECONDS", 0.05)
    monkeypatch.setattr(joining, "TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    port = _port(request, listens=rank == 0)
    for name, value in {"WORLD_SIZE": "2", "RANK": str(rank)}.items():
        monkeypatch.setenv(name, value)
    lacking = run_cli(*SMALL)
    assert lacking.code == 1
    assert "without MASTER_ADDR and MASTER_PORT" in lacking.err
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    outcome = run_cli(*SMALL)
    assert outcome.code == 1
    assert f"process {rank} of 2 is waiting for {whom} at 127.0.0.1:{port}" in outcome.err
    assert f"process {rank} of 2 could not connect to the others at 127.0.0.1" in outcome.err
    advice = "\nMASTER_ADDR must be an address of rank 0's node for all nodes; or set GLOO_SOCKET_"
    assert advice in outcome.err
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    alone = run_cli(*SMALL)
    assert f"process {rank} of 2 could not connect to the others at 127.0.0.1" in alone.err
    assert "SOCKET_IFNAME" not in alone.err


@pytest.fixture
def asked(monkeypatch):
    """Stand in for what `join` does with torch; return the backends asked for."""
    backends = []
    monkeypatch.setattr(joining, "_connect", lambda *_: None)
    monkeypatch.setattr(
        joining.dist, "init_process_group", lambda backend, **_: backends.append(backend)
    )
    return backends


def test_processes_on_a_cpu_leave_the_gpus_alone(asked, monkeypatch):
    """Each would take half a GiB of the first of them."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    joining.join(Group(1, 2, 1, 2), "127.0.0.1", 1, on_gpus=False)
    assert (asked, chosen) == (["gloo"], [])
    joining.join(Group(1, 2, 1, 2), "127.0.0.1", 1)
    assert (asked, chosen) == (["gloo", "cpu:gloo,cuda:nccl"], [1])


def test_a_node_that_the_others_cannot_find_is_named(asked, monkeypatch, caplog):
    monkeypatch.setattr(joining.logger, "propagate", True)
    monkeypatch.setattr(joining.socket, "gethostname", lambda: "n1")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    for address, size, is_said in (("127.0.1.1", 4, 1), ("10.0.0.1", 4, 0), ("127.0.1.1", 2, 0)):
        monkeypatch.setattr(joining.socket, "gethostbyname", lambda name, at=address: at)
        caplog.clear()
        for rank in (0, 1):
            joining.join(Group(rank, size, rank, 2), "n1", 1)
        lines = {id(record): record.getMessage() for record in caplog.records}.values()
        assert len(lines) == is_said
        for line in lines:
            assert line.startswith("n1 has the address 127.0.1.1 on this node")
            assert "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME" in line


def test_processes_that_are_stopped_leave_their_group(asked, monkeypatch):
    """Or torch warns of each; after an error, the others would not join in."""
    left = []
    monkeypatch.setattr(joining, "leave", lambda: left.append(True))
    monkeypatch.setattr(joined, "started_by_others", lambda: RankInfo(0, 2, 0, 2, "x", 1))
    for error, has_left in ((StoppedRun("saved"), [True]), (UserError("no data"), [])):
        left.clear()
        with pytest.raises(type(error)), joined.joined_group(on_gpus=False):
            raise error
        assert left == has_left
