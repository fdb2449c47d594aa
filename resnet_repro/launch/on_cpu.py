"""How a CPU trains runs: how many at a time, by how many processes, in which memory format.

A run resumes with the processes, threads and format with which it started on a CPU, for the same
bits.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_repro.cost.calibration import network_key
from resnet_repro.cost.layout import best_layout_on_cpu
from resnet_repro.cost.side_by_side import best_processes_on_cpu, best_runs_on_cpu
from resnet_repro.engine.device import choose_device
from resnet_repro.engine.execution import draws_numbers
from resnet_repro.launch.job_queue import QueuedRun
from resnet_repro.machine import num_cores
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.runs import run_folder


def runs_at_a_time(jobs: list[QueuedRun]) -> int:
    """Return the fastest number; one if runs began with more threads than would be theirs."""
    left, sessions = _left(jobs)
    if len(left) < 2:
        return 1
    number = best_runs_on_cpu(left[0].config, len(left), jobs[0][1].parent.parent)
    share = max(1, num_cores() // number)
    threads = [session.get("threads") for session in sessions if session]
    return number if all(each is not None and each <= share for each in threads) else 1


def with_processes(runs: list[Run], results: Path) -> list[Run]:
    """Return runs with `compute.processes` set where they leave it open and several are faster.

    That is so for the only run that is left, and for runs that began so.
    """
    open_runs = [run for run in runs if _leaves_open(run)]
    left, sessions = _left([(run, run_folder(run, results)) for run in open_runs])
    numbers: dict[str, int] = {}
    for run, session in zip(left, sessions, strict=True):
        if session:
            numbers[run.id] = session.get("processes", 1)
        elif len(left) == 1:
            numbers[run.id] = best_processes_on_cpu(run.config, results)
    return [
        run if (number := numbers.get(run.id, 1)) == 1 else _with_compute(run, processes=number)
        for run in runs
    ]


def with_layout(runs: list[Run], results: Path) -> list[Run]:
    """Return runs with `compute.channels_last` set where a timing on this CPU tells the faster.

    A run that has started keeps its memory format (`engine.resume.as_before`).
    """
    on_cpu = [run for run in runs if choose_device(run.config.compute).type == "cpu"]
    left, sessions = _left([(run, run_folder(run, results)) for run in on_cpu])
    new = {run.id: run for run, session in zip(left, sessions, strict=True) if not session}
    keys = {id: network_key(run.config) for id, run in new.items()}
    longest: dict[str, Run] = {}  # run of each network, which tells whether a timing is worth it
    for run in sorted(new.values(), key=lambda run: run.config.recipe.iterations):
        longest[keys[run.id]] = run
    best = {key: best_layout_on_cpu(run.config, results) for key, run in longest.items()}
    faster = {id: best[keys[id]] for id in new}
    return [
        run if faster.get(run.id) is None else _with_compute(run, channels_last=faster[run.id])
        for run in runs
    ]


def _leaves_open(run: Run) -> bool:
    compute = run.config.compute
    is_set = compute.processes is not None or compute.runs_per_gpu is not None
    streams = run.config.data.is_streamed
    # Each process draws dropout's masks of its own: their number would change the result.
    is_free = not (is_set or streams or draws_numbers(run.config.model))
    return is_free and choose_device(compute).type == "cpu"


def _with_compute(run: Run, **changes: Any) -> Run:  # noqa: ANN401
    return replace(run, config=run.config.with_compute(**changes))


def _left(jobs: list[QueuedRun]) -> tuple[list[Run], list[dict[str, Any] | None]]:
    """Return the runs that are not trained, and the first session of each, if it began here."""
    left: list[Run] = []
    sessions: list[dict[str, Any] | None] = []
    for run, folder in jobs:
        record = Record(folder)
        with suppress(DamagedError):  # the run itself reports it
            if record.state() != "finished":
                sessions.append(record.first_session(on_cpu=True))
                left.append(run)
    return left, sessions
