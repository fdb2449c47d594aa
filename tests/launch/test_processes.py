"""What a worker process does for its work, whoever started it."""

import logging
import threading

import pytest

from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.launch import local, processes
from resnet_repro.plan import Run
from resnet_repro.records.errors import MissingWeightsError
from tests.support.runs import changed


@pytest.fixture
def worker(monkeypatch):
    """Return a call of the entry point in this process, and what it did with a process group."""
    did, raised = [], []
    for name in ("prepare_process", "_leave_signals_to_parent"):
        monkeypatch.setattr(processes, name, lambda: None)
    monkeypatch.setattr(processes, "join_here", lambda *args, **_: did.append("join"))
    monkeypatch.setattr(processes, "leave", lambda: did.append("leave"))
    for name in ("handlers", "propagate", "level"):  # they are as before after the test
        monkeypatch.setattr(processes.logger, name, getattr(processes.logger, name))

    class Queue:
        put = staticmethod(raised.append)

    def call(work, port):
        args = (port, True, threading.Event(), Queue, logging.INFO, ())
        processes._worker_main(1, work, ("given",), 2, *args)

    return call, did, raised


def test_processes_that_exchange_nothing_form_no_group(worker):
    """torch's watchers of a group complain every second of one that has ended."""
    call, did, _ = worker
    call(lambda *args: did.append(args), None)
    (given, group), *_ = did
    assert (given, group.rank, group.size) == ("given", 1, 2)
    assert "join" not in did


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (StoppedRun("saved"), 0, ["join", "leave"]),
        (UserError("no data"), 1, ["join"]),
        (MissingWeightsError("restore last.pt"), 1, ["join"]),  # a UserError of one run alone
    ],
)
def test_processes_leave_their_group_where_all_stop(worker, error, code, expected):
    call, did, raised = worker

    def work(*_):
        raise error

    with pytest.raises(SystemExit) as ended:
        call(work, 1234)
    assert (ended.value.code, did) == (code, expected)
    assert raised == [(type(error), error.args)]


@pytest.mark.parametrize(("device", "on_gpus"), [("cpu", False), ("auto", True), ("cuda", True)])
def test_only_runs_that_may_use_gpus_exchange_tensors_there(
    config, monkeypatch, tmp_path, device, on_gpus
):
    asked = []
    monkeypatch.setattr(local, "run_in_processes", lambda *_, **how: asked.append(how))
    monkeypatch.setattr(local, "num_processes", lambda config: 2)
    monkeypatch.setattr(local, "run_folder", lambda run, results: tmp_path)
    run = Run("ResNet-8", changed(config, compute={"device": device}))
    local._run_one(type("Plan", (), {"results": tmp_path}), run, local.SINGLE_PROCESS)
    assert asked == [{"on_gpus": on_gpus}]
