"""Signals: a run stops in order, saves, and says how to go on."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from resnet_repro.engine import signals
from resnet_repro.engine.step import Step
from resnet_repro.records import Record
from tests.support.paths import ROOT
from tests.support.processes import LONG
from tests.support.runs import PATIENCE, SMALL, the_run


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_each_signal_stops_after_the_iteration(name):
    number = signal.Signals[name]
    before = signal.signal(number, signal.default_int_handler)  # one that was ignored stays so
    try:
        with signals.stop_signals() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), number)
            assert stop.is_set()
    finally:
        signal.signal(number, before)


def test_a_second_ctrl_c_quits_at_once(monkeypatch):
    monkeypatch.setattr(signals, "SAME_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt), signals.stop_signals():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_saves_and_says_how_to_go_on(run_cli, tmp_path, monkeypatch):
    real, calls = Step.__call__, []

    def step(*args):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(Step, "__call__", step)
    outcome = run_cli(*SMALL, *LONG)
    assert outcome.code == 130
    assert "saved at iteration 3 of 100000; run the same command to resume" in outcome.err
    assert "Traceback" not in outcome.err
    assert len(calls) == 3
    assert torch.load(the_run(tmp_path) / "last.pt")["progress"]["iteration"] == 3
    assert Record(the_run(tmp_path)).iteration() == 3


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert "stopped before it started" in out
    assert "Traceback" not in out


def test_a_handler_that_a_library_replaced_is_put_back(monkeypatch):
    monkeypatch.setattr(signals, "RENEW_SECONDS", 0.0)
    replace = ctypes.CDLL(None).signal
    replace.argtypes = (ctypes.c_int, ctypes.c_void_p)
    with signals.stop_signals() as stop:
        replace(signal.SIGTERM, int(signal.SIG_IGN))
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
