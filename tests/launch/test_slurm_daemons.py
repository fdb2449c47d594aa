"""Jobs in a real SLURM on this machine."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.processes import wait
from tests.support.runs import SMALL
from tests.support.toy_slurm import toy_slurm, why_not

ON_CPU = ("cluster.gpus=0", "cluster.cpus=1", "cluster.time=00:10:00")
LONG = [*SMALL, "recipe.iterations=400", "recipe.lr_drops=[300]", "evaluation.every=100",
        "recipe.bn_batch=8"]  # fmt: skip


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Start SLURM on this machine."""
    missing = why_not()
    if missing:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        with toy_slurm(folder):
            yield


def slurm_says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def has_begun(folder: Path, row: str) -> bool:
    log = next(folder.glob(f"results/runs/{row}-*/record.jsonl"), None)
    return log is not None and '"train"' in log.read_text()


def weights(results: Path) -> dict[str, str]:
    records = list(results.glob("runs/*/record.jsonl"))
    ends = [json.loads(path.read_text().splitlines()[-1]) for path in records]
    assert {end["event"] for end in ends} == {"finished"}
    return {path.parent.name: end["weights"]
            for path, end in zip(records, ends, strict=True)}  # fmt: skip


def wait_for_the_queue_to_empty():
    """Jobs that came back wait two minutes, for which nobody waits here."""

    def is_empty():
        for job in slurm_says("squeue", "-h", "-r", "-t", "PD", "-o", "%i").split():
            subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], check=False)
        return not slurm_says("squeue", "-h")

    wait(is_empty)


@pytest.mark.slurm
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_job_whose_time_is_up_comes_back_and_ends_with_the_same_bits(
    run_cli, slurm, tmp_path, nodes
):
    words = [*LONG, "row=[plain-8,ResNet-8]"]
    whole = run_cli(*words, "results=whole", f"compute.processes={nodes}")
    assert whole.code == 0, whole.err
    words += [*ON_CPU, f"cluster.nodes={nodes}"]
    submitted = run_cli("submit", *words)
    assert submitted.code == 0, submitted.err
    assert "2 to submit" in submitted.out
    assert "2 running or in the queue, 0 to submit" in run_cli("submit", *words).out
    job = re.search(r"job (\d+_0): plain-8", submitted.out)[1]
    wait(lambda: has_begun(tmp_path, "plain-8"))
    slurm_says("scancel", "--batch", "--signal=USR1", job)
    wait(lambda: "PENDING BeginTime" in slurm_says("squeue", "-hrj", job, "-o", "%T %r"))
    assert f"(job {job} PENDING, BeginTime)" in run_cli("status", *words).out
    wait_for_the_queue_to_empty()
    assert weights(tmp_path / "results") == weights(tmp_path / "whole")
    for log in tmp_path.glob("results/runs/*/environment.json"):
        sessions = json.loads(log.read_text())
        assert [each["processes"] for each in sessions] == [nodes] * (
            2 if log.parent.name.startswith("plain-8") else 1
        )
    log = (tmp_path / f"results/runs/slurm/{job}.log").read_text()
    assert "saved at iteration" in log and "resuming from iteration" in log
    tables = [next(tmp_path.glob(f"{root}/quickstart/changed-*/table.csv")).read_text()
              for root in ("whole", "results")]  # fmt: skip
    assert tables[0] == tables[1]


@pytest.mark.slurm
def test_a_job_that_another_displaces_comes_back_and_one_that_is_cancelled_does_not(
    run_cli, slurm, tmp_path
):
    words = [*LONG, "row=[plain-8,ResNet-8]", *ON_CPU]
    submitted = run_cli("submit", *words)
    job = re.search(r"job (\d+)_0: plain-8", submitted.out)[1]
    wait(lambda: has_begun(tmp_path, "plain-8") and has_begun(tmp_path, "ResNet-8"))
    slurm_says("scancel", f"{job}_1")
    # It takes both nodes whole.
    slurm_says("sbatch", "--partition=first", "--nodes=2", "--exclusive", "--wrap=sleep 1")
    wait(lambda: "PENDING" in slurm_says("squeue", "-hrj", f"{job}_0", "-o", "%T"))
    wait_for_the_queue_to_empty()
    status = run_cli("status", *words).out
    assert re.search(r"plain-8-\S+ +\| done", status)
    assert re.search(r"ResNet-8-\S+ +\| stopped: job \S+ ended: .*CANCELLED", status)
    log = (tmp_path / f"results/runs/slurm/{job}_0.log").read_text()
    assert "saved at iteration" in log and "resuming from iteration" in log
    assert "1 done, 0 running or in the queue, 1 to submit" in run_cli("submit", *words).out
    wait_for_the_queue_to_empty()
    assert len(weights(tmp_path / "results")) == 2


@pytest.mark.slurm
def test_a_sweep_in_several_arrays_is_cancelled_saved_and_resumed(run_cli, slurm, tmp_path):
    words = [*LONG, *ON_CPU, "recipe.lr=0.05,0.1", "seeds=[0,1]"]
    submitted = run_cli("submit", *words, "cluster.at_once=1")
    assert submitted.code == 0, submitted.err
    assert "4 to submit" in submitted.out
    first, second, table = dict.fromkeys(re.findall(r"job (\d+)_\d", submitted.out))
    wait(lambda: has_begun(tmp_path, "ResNet-8"))
    assert slurm_says("squeue", "-h", "-r", "-t", "R", "-o", "%i") == f"{first}_0"
    assert f"(job {second}_0 PENDING, Dependency)" in run_cli("status", *words).out
    # The run that trains, and one of the other array.
    ended = run_cli("cancel", *words, "seeds=0")
    assert f"2 jobs cancelled, 1 of them running: {first}_0, {second}_0" in ended.out
    stays = slurm_says("squeue", "-h", "-r", "-t", "PD,R,CF", "-o", "%i").split()
    assert {f"{first}_1", f"{second}_1", f"{table}_0"} >= set(stays)
    wait_for_the_queue_to_empty()
    log = tmp_path / f"results/runs/slurm/{first}_0.log"
    assert "saved at iteration" in log.read_text()
    status = run_cli("status", *words).out
    assert len(re.findall(r"\| done ", status)) == 2
    assert re.search(rf"\| stopped: job {first}_0 ended: CANCELLED AT \S+ +\|", status)
    assert "saved at iteration" in run_cli("logs", *words, "state=stopped").out
    assert "2 done, 0 running or in the queue, 2 to submit" in run_cli("submit", *words).out
    wait_for_the_queue_to_empty()
    assert len(weights(tmp_path / "results")) == 4
    (table,) = tmp_path.glob("results/quickstart/sweep-recipe.lr*/table.csv")
    assert len(table.read_text().splitlines()) >= 3
