"""Processes end with one another."""

import os
import signal
import time

import pytest
from torch.multiprocessing import start_processes

from resnet_repro.errors import UserError
from resnet_repro.launch import processes
from resnet_repro.launch.processes import DeadProcessError, run_in_processes
from resnet_repro.records import Record
from tests.support.peers import die_save_or_wait, fail_or_save
from tests.support.processes import LONG, is_alive, pair_of, wait_until_it_trains
from tests.support.runs import PATIENCE


@pytest.fixture
def forked(monkeypatch):
    """Fork processes: these compute nothing, and would import torch for seconds."""

    def start(*args, start_method, **options):
        return start_processes(*args, start_method="fork", **options)

    monkeypatch.setattr(processes, "start_processes", start)


@pytest.mark.usefixtures("forked")
def test_a_process_that_dies_takes_the_others_down(monkeypatch):
    monkeypatch.setattr(processes, "SAVE_SECONDS", 0.5)
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.1)
    with pytest.raises(DeadProcessError, match=r"process 1 of 3 died \(SIGKILL\); the others were"):
        run_in_processes(die_save_or_wait, 3, joined=False, on_gpus=False)


@pytest.mark.usefixtures("forked")
def test_what_stops_every_run_lets_those_of_other_processes_save(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.1)
    with pytest.raises(UserError, match="no data"):
        run_in_processes(fail_or_save, 2, tmp_path / "saved", joined=False, on_gpus=False)
    assert (tmp_path / "saved").is_file()


@pytest.mark.slow
def test_a_run_whose_process_dies_has_failed_and_says_so_in_a_line(tmp_path, start):
    process = start("compute.processes=2", "recipe.bn_batch=8", *LONG)
    wait_until_it_trains(tmp_path, process)
    pair = pair_of(process)
    os.kill(pair[1], signal.SIGKILL)
    out = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert "process 1 of 2 died (SIGKILL); the others were stopped. The kernel kills" in out
    assert "Traceback" not in out
    assert not any(map(is_alive, pair))
    (run,) = (tmp_path / "results" / "runs").glob("*-seed*")
    assert Record(run).state() == "failed"


@pytest.mark.slow
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
