"""Runs that share a machine: one process per GPU, which interleaves the runs on it.

Runs on one GPU share a process because kernels of different processes do not execute concurrently,
unless NVIDIA's multi-process service is set up; kernels of one process's streams do.
`resnet-repro bench` times both.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.distributed.started import cores_per_process
from resnet_repro.engine.device import choose_device, free_threads, synchronize
from resnet_repro.engine.evaluate_runs import finish
from resnet_repro.engine.fitting import gpu_fraction
from resnet_repro.engine.interleave import Loop, SharedClock, StreamedLoop
from resnet_repro.engine.signals import Stop, stop_signals
from resnet_repro.engine.train import train_stepwise
from resnet_repro.errors import StoppedRun, require
from resnet_repro.launch.failure import record_failure
from resnet_repro.launch.job_queue import JobQueue, QueuedRun, shared_counts
from resnet_repro.launch.on_cpu import runs_at_a_time
from resnet_repro.launch.processes import DeadProcessError, run_in_processes
from resnet_repro.machine import num_cores
from resnet_repro.plan import Run
from resnet_repro.records.runs import run_folder
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

FULL, ROUNDING = 1.0, 1e-6  # in fractions of a device


def run_side_by_side(jobs: list[QueuedRun]) -> None:
    """Train and test single-process runs on all GPUs that may be used.

    Args:
        jobs: Runs and their folders.

    Raises:
        UserError: Wrong settings or missing data, which would stop every run.
        OSError: A full disk or a folder without write permission, which would stop every run.
        StoppedRun: The user asked to stop.
    """
    if not jobs:
        return
    compute = jobs[0][0].config.compute
    size = min(num_workers(jobs), len(jobs))
    if size == 1:
        with stop_signals() as stop:
            run_interleaved(JobQueue(jobs), stop)
        return
    on_gpus = torch.cuda.is_available() and compute.device != "cpu"
    logger.info("%d runs on %d %s", len(jobs), size, "GPUs" if on_gpus else "processes")
    threads = None if on_gpus or compute.threads else free_threads(size)
    try:
        run_in_processes(_worker_main, size, jobs, shared_counts(size), threads, joined=False)
    except DeadProcessError as error:
        logger.error("%s", error)


def num_workers(jobs: list[QueuedRun]) -> int:
    """Return the number of worker processes: one per GPU; on a CPU as set, or the fastest.

    Raises:
        UserError: `compute.runs_per_gpu` is more than the cores of the CPU.
    """
    compute = jobs[0][0].config.compute
    if torch.cuda.is_available() and compute.device in ("auto", "cuda"):
        return torch.cuda.device_count()
    if choose_device(compute).type != "cpu":
        return 1
    number = compute.runs_per_gpu
    if number is None:
        return runs_at_a_time(jobs)
    require(
        number <= num_cores(),
        f"compute.runs_per_gpu={number}: without a GPU each run needs a core, and this "
        f"machine has {num_cores()}",
    )
    return number


def _worker_main(jobs: list[QueuedRun], counts: Any, threads: int | None, group: Group) -> None:  # noqa: ANN401
    """Entry point of a worker process: take the next unstarted run until none is left."""
    if threads is not None:  # for new runs; a resumed run keeps its own
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ["TQDM_DISABLE"] = "1"  # several progress bars on one terminal are unreadable
    logger.handlers[0].setLevel(logging.INFO)  # every process logs its own runs
    here = []
    for run, folder in jobs:
        settings = _device_settings(run.config, group)
        here.append((replace(run, config=run.config.with_compute(**settings)), folder))
    run_interleaved(JobQueue(here, counts, group.rank), Stop(group.stop))


def _device_settings(config: RunConfig, group: Group) -> dict[str, Any]:
    """Return the compute settings that select this process's part of the machine."""
    compute = config.compute
    if not torch.cuda.is_available() or compute.device == "cpu":
        return {"runs_per_gpu": 1}
    workers = compute.workers
    if workers is None and config.data.is_streamed:
        workers = cores_per_process(group.size)
    return {"device": f"cuda:{group.rank}", "workers": workers}


@dataclass
class _Active:
    """A run in progress, and the fraction of the device that it fills."""

    job: QueuedRun
    loop: StreamedLoop
    fraction: float


def run_interleaved(jobs: JobQueue, stop: Stop) -> None:
    """Execute runs on one device, as many at a time as fit on it.

    Args:
        jobs: The runs and their folders; each is taken when there is room for it.
        stop: Set when the user asks to stop.
    """
    active: list[_Active] = []
    again: list[QueuedRun] = []  # those for which memory did not suffice next to others
    clock, full, has_room, is_broken, stopped = SharedClock(), FULL, True, False, []
    try:
        while True:
            while has_room and not (is_broken or stop.is_set()):
                job = again[0] if again else jobs.next_job(len(active))
                if job is None:
                    break
                has_room = not active or _same_for_torch(active, job[0])
                if has_room:  # measured with the run's precision
                    number = jobs.num_left() + len(active) + len(again)
                    fraction = gpu_fraction(job[0].config, number)
                    taken = sum(each.fraction for each in active)
                    has_room = not active or taken + fraction <= full + ROUNDING
                if not has_room:  # until a run ends
                    jobs.hold()
                    break
                if again:
                    again.pop(0)
                elif not jobs.take(job):
                    continue
                job = _where_it_is(*job)
                work = train_and_test_stepwise(*job, stop, clock)
                active.append(
                    _Active(job, StreamedLoop(work, choose_device(job[0].config.compute)), fraction)
                )
                clock.divide_by(len(active))
            if not active:
                break
            for each in list(active):
                try:
                    if each.loop.advance():
                        continue
                except StoppedRun as error:
                    stopped.append(str(error))
                except torch.OutOfMemoryError as error:
                    others = len(active) - 1
                    if others:
                        full = sum(one.fraction for one in active) - each.fraction
                        again.append(each.job)
                        error.__traceback__ = error.__context__ = None  # they hold the network
                        logger.warning(
                            "out of GPU memory with %d runs side by side: continuing with %d; "
                            "set compute.runs_per_gpu=%d to start with that",
                            *(others + 1, others, others),
                        )
                    else:
                        record_failure(*each.job, error)
                except Exception as error:
                    record_failure(*each.job, error)
                    is_broken = is_broken or not _still_computes(each.job[0])
                    if is_broken:
                        jobs.hold()
                each.loop.close()
                active.remove(each)
                has_room = True
                clock.divide_by(len(active))
    except Exception:
        stop.came = True  # the others save what they have
        for each in active:
            with suppress(Exception, StoppedRun):
                while each.loop.advance():
                    pass
        raise
    finally:
        for each in active:
            each.loop.close()
    if stopped or stop.is_set():
        raise StoppedRun("\n".join(stopped) or "stopped before the next run")


def _still_computes(run: Run) -> bool:
    """Return whether a run's device still works: after some errors of CUDA, all calls fail."""
    try:
        synchronize(choose_device(run.config.compute))
    except RuntimeError as error:
        logger.error(
            "the GPU fails since that error (%s): run the same command again for the other runs",
            str(error).split("\n", 1)[0],
        )
        return False
    return True


def _where_it_is(run: Run, folder: Path) -> QueuedRun:
    """Return a run and its folder, which another table's row may have made since the start."""
    found = run_folder(run, folder.parent.parent)
    return run, found if found.is_dir() else folder


def _same_for_torch(active: list[_Active], run: Run) -> bool:
    """Return whether a run needs what the active ones do of torch's settings per process."""

    def needs(run: Run) -> tuple[str, bool]:
        return run.config.recipe.precision, run.config.compute.deterministic

    return {needs(each.job[0]) for each in active} == {needs(run)}


def train_and_test_stepwise(run: Run, folder: Path, stop: Stop, clock: Callable[[], float]) -> Loop:
    """Train a run and test it by its protocol; yield after each iteration."""
    yield from train_stepwise(run, folder, SINGLE_PROCESS, stop, clock)
    finish(run, folder, SINGLE_PROCESS, stop)
