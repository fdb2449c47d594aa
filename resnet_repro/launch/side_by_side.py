"""Runs that share a machine: on one GPU they take turns, and each GPU has a process of its own.

In one process and not in one each, because kernels of different processes do not run at the same
time on a GPU, unless NVIDIA's multi-process service is set up; those of one process's streams do.
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
from torch.multiprocessing import get_context

from resnet_repro.distributed.group import ALONE, Group
from resnet_repro.engine.device import choose_device, free_threads
from resnet_repro.engine.evaluate_runs import finish
from resnet_repro.engine.fitting import share_of_gpu
from resnet_repro.engine.interleave import SharedClock, Turn, Work
from resnet_repro.engine.signals import Stop, StoppedRun, stop_signals
from resnet_repro.engine.train import train_stepwise
from resnet_repro.errors import require
from resnet_repro.launch.failure import note_failure
from resnet_repro.launch.processes import DeadProcessError, run_together
from resnet_repro.machine import num_cores
from resnet_repro.plan import Run
from resnet_repro.settings.compute import ComputeConfig

logger = logging.getLogger("resnet_repro")

Job = tuple[Run, Path]
FULL, ROUNDING = 1.0, 1e-6  # of shares of a device


def run_side_by_side(jobs: list[Job]) -> None:
    """Train and test runs that take one process each, on every GPU that may be used.

    Args:
        jobs: Runs and their folders.

    Raises:
        UserError: What would stop every run: wrong settings, missing data.
        OSError: Likewise: a full disk, a folder that cannot be written.
        StoppedRun: The user asked to stop.
    """
    if not jobs:
        return
    compute = jobs[0][0].config.compute
    size = min(num_workers(compute), len(jobs))
    if size == 1:
        with stop_signals() as stop:
            take_turns(iter(jobs).__next__, len(jobs), stop)
        return
    on_gpus = torch.cuda.is_available() and compute.device != "cpu"
    logger.info("%d runs on %d %s", len(jobs), size, "GPUs" if on_gpus else "processes")
    threads = None if on_gpus or compute.threads else free_threads(size)
    begun = get_context("spawn").Value("i", 0)
    try:
        run_together(_work, size, jobs, begun, threads)
    except DeadProcessError as error:
        logger.error("%s", error)


def num_workers(compute: ComputeConfig) -> int:
    """Return how many processes carry out runs: one per GPU, or as asked for on a CPU."""
    if torch.cuda.is_available() and compute.device in ("auto", "cuda"):
        return torch.cuda.device_count()
    if choose_device(compute).type != "cpu":
        return 1
    number = compute.runs_per_gpu or 1
    require(
        number <= num_cores(),
        f"compute.runs_per_gpu={number}: without a GPU each run takes a core, and there are "
        f"{num_cores()}",
    )
    return number


def _work(jobs: list[Job], begun: Any, threads: int | None, group: Group) -> None:  # noqa: ANN401
    """Be one of the processes: take the next run that none has, until there is none."""
    if threads is not None:  # of runs that start; one that is resumed keeps its own
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)  # where there is only a test to do
    os.environ["TQDM_DISABLE"] = "1"  # several bars on one terminal are a mess; plain lines are not
    logger.handlers[0].setLevel(logging.INFO)  # every process speaks, of its own runs

    def take() -> Job:
        with begun.get_lock():
            number = begun.value
            begun.value += 1
        if number >= len(jobs):
            raise StopIteration
        run, folder = jobs[number]
        config = run.config
        compute = replace(config.compute, **_place(config.compute, group))
        return replace(run, config=replace(config, compute=compute)), folder

    take_turns(take, -(-len(jobs) // group.size), Stop(group.stop))


def _place(compute: ComputeConfig, group: Group) -> dict[str, Any]:
    """Return the part of the machine that is this process's."""
    if torch.cuda.is_available() and compute.device != "cpu":
        return {"device": f"cuda:{group.rank}"}
    return {"runs_per_gpu": 1}


@dataclass
class _Active:
    """A run that has its turns, and the part of the device that it fills."""

    job: Job
    turn: Turn
    share: float


def take_turns(take: Callable[[], Job], num_left: int, stop: Stop) -> None:
    """Carry out runs on one device, as many at a time as fill it.

    Args:
        take: Gives the next run; raises StopIteration where there is none.
        num_left: How many there are about.
        stop: Whether the user asked to stop.
    """
    active: list[_Active] = []
    waiting: list[tuple[Job, float | None]] = []
    clock, full, stopped = SharedClock(), FULL, []
    try:
        while True:
            while not stop.is_set():
                if not waiting:
                    try:
                        job = take()
                    except StopIteration:
                        break
                    waiting.append((job, None))
                job, share = waiting[0]
                if active and not _go_together(active, job[0]):
                    break
                if share is None:  # measured with the run's precision
                    share = share_of_gpu(job[0].config, num_left)
                    waiting[0] = job, share
                if active and sum(each.share for each in active) + share > full + ROUNDING:
                    break
                waiting.pop(0)
                num_left -= 1
                work = carry_out_stepwise(*job, stop, clock)
                active.append(_Active(job, Turn(work, choose_device(job[0].config.compute)), share))
                clock.share(len(active))
            if not active:
                break
            for each in list(active):
                try:
                    if each.turn.advance():
                        continue
                except StoppedRun as error:
                    stopped.append(str(error))
                except torch.OutOfMemoryError as error:
                    others = len(active) - 1
                    if others:
                        full = sum(one.share for one in active) - each.share
                        waiting.append((each.job, each.share))
                        logger.warning(
                            "out of GPU memory with %d runs side by side: going on with %d; "
                            "compute.runs_per_gpu=%d begins so",
                            *(others + 1, others, others),
                        )
                    else:
                        note_failure(*each.job, error)
                except Exception as error:
                    note_failure(*each.job, error)
                active.remove(each)
                clock.share(len(active))
    except Exception:
        stop.came = True  # the others save what they have
        for each in active:
            with suppress(Exception, StoppedRun):
                while each.turn.advance():
                    pass
        raise
    finally:
        for each in active:
            each.turn.close()
    if stopped or stop.is_set():
        raise StoppedRun("\n".join(stopped) or "stopped before the next run")


def _go_together(active: list[_Active], run: Run) -> bool:
    """Return whether a run can go beside others: the precision is set for the whole process."""
    precisions = {each.job[0].config.recipe.precision for each in active}
    return precisions == {run.config.recipe.precision}


def carry_out_stepwise(run: Run, folder: Path, stop: Stop, clock: Callable[[], float]) -> Work:
    """Train a run and test it by its protocol, yielding after each iteration."""
    yield from train_stepwise(run, folder, ALONE, stop, clock)
    finish(run, folder, ALONE, stop)
