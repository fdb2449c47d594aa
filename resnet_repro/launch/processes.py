"""Starts several processes for one piece of work, and stops them together."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import active_children, parent_process
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

import torch
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import (
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from resnet_repro.distributed.group import Group
from resnet_repro.distributed.joining import join_here, leave, listen
from resnet_repro.engine.signals import stop_signals
from resnet_repro.errors import StoppedRun, UserError, shortage
from resnet_repro.plugins import registry
from resnet_repro.process import SIGNALS, prepare_process, signals_blocked, unblock_signals
from resnet_repro.records.errors import DamagedError, LockedError, MissingWeightsError
from resnet_repro.visible import VisibleFormatter

logger = logging.getLogger("resnet_repro")

BY_KERNEL = ". The kernel kills processes when memory runs out: use fewer or smaller ones"
GRACE_SECONDS = 2.0  # for the other processes, once one has died
SAVE_SECONDS = 300.0  # for processes with runs of their own
# Exceptions that a process passes to the parent, which raises them as its own.
PROPAGATED = (
    DamagedError,
    MissingWeightsError,
    UserError,  # after the kinds of it
    OSError,
    LockedError,
    StoppedRun,
    torch.OutOfMemoryError,
)


class DeadProcessError(Exception):
    """One of several processes died, and the others were stopped."""


def run_in_processes(
    work: Callable[..., None],
    num_processes: int,
    *args: Any,  # noqa: ANN401
    joined: bool = True,
    on_gpus: bool = True,
) -> None:
    """Call `work(*args, group)` in several processes; return when all have returned.

    If one of them fails, the others are stopped within seconds; those that are not joined first
    save the runs that they have of their own.

    Args:
        work: A function that can be pickled by name.
        num_processes: Number of processes, all on this machine.
        *args: Arguments of the function.
        joined: Whether they form a process group; otherwise their `Group` has no collective
            operations, and each process may end before the others.
        on_gpus: Whether the process group also exchanges tensors on GPUs.

    Raises:
        DeadProcessError: A process failed through a bug of ours, or was killed.
        BaseException: One of `PROPAGATED`, as a process raised it.
        RuntimeError: The machine ran out of a resource that the message names.
    """
    context = get_context("spawn")
    with signals_blocked():  # their resource tracker process would end by a signal too
        stop, raised = context.Event(), context.SimpleQueue()
        # Kept to the end; its threads take no signals either.
        _store, port = listen() if joined else (None, None)
    level = logger.handlers[0].level if logger.handlers else logging.INFO
    logging.getLogger(start_processes.__module__).setLevel(logging.ERROR)  # it logs what it ends
    failure: Exception | None = None
    killed: list[tuple[int, int]] = []
    with stop_signals() as stopping:
        words = work, args, num_processes, port, on_gpus, stop, raised, level, registry.loaded()
        before = active_children()
        try:
            with signals_blocked():
                processes = start_processes(  # type: ignore[no-untyped-call]
                    _worker_main, words, num_processes, join=False, start_method="spawn"
                )
        except BaseException:
            for started in active_children():
                if started not in before:
                    started.kill()
            raise
        deadline = time.monotonic() + SAVE_SECONDS
        try:
            while True:
                running = [each.sentinel for each in processes.processes if each.is_alive()]
                wait(running, timeout=0.2)
                # Read before the others are stopped, whose exit codes do not show the cause.
                codes = [process.exitcode or 0 for process in processes.processes]
                killed = [(number, -code) for number, code in enumerate(codes) if code < 0]
                failed = not joined and any(codes)
                if stopping.is_set() or failed:
                    stop.set()
                if not failed:
                    deadline = time.monotonic() + SAVE_SECONDS
                # Where one has failed, `join` ends the others, which first save their own runs.
                if not joined and running and time.monotonic() < deadline:
                    continue
                if processes.join(timeout=0, grace_period=GRACE_SECONDS):
                    break
        except (ProcessExitedException, ProcessRaisedException) as error:
            failure = error
        finally:  # also after a second Ctrl-C
            for process in processes.processes:
                if process.is_alive():
                    process.kill()
    if isinstance(failure, ProcessExitedException) and failure.exit_code < 0 and not killed:
        killed = [(failure.error_index, -failure.exit_code)]
    propagated = []
    while not raised.empty():
        propagated.append(raised.get())
    for kind, arguments in propagated:
        if kind is not StoppedRun:
            raise kind(*arguments)
    # Where one failed, the others were stopped too, by us.
    if propagated and (stopping.is_set() or not (killed or failure)):  # each message once
        raise StoppedRun("\n".join(dict.fromkeys(str(words) for _, (words, *_) in propagated)))
    for number, code in killed:
        raise DeadProcessError(
            f"process {number} of {num_processes} died ({signal.Signals(code).name}); the others "
            f"were stopped{BY_KERNEL if code == signal.SIGKILL else ''}"
        )
    if failure:
        raise DeadProcessError(f"one of {num_processes} processes failed{failure}")


def _worker_main(
    rank: int,
    work: Callable[..., None],
    args: tuple[Any, ...],
    num_processes: int,
    port: int | None,
    on_gpus: bool,
    stop: Any,  # noqa: ANN401
    raised: Any,  # noqa: ANN401
    level: int,
    plugins: tuple[str, ...],
) -> None:
    """Entry point of a worker process."""
    prepare_process()
    _leave_signals_to_parent()
    handler = logging.StreamHandler(sys.stdout)
    handler.setLevel(level if rank == 0 else logging.CRITICAL)
    handler.setFormatter(VisibleFormatter("%(message)s"))
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    group = Group(rank, num_processes, rank, num_processes, stop)
    try:
        registry.load(plugins)
        if port is not None:
            join_here(group, port, on_gpus=on_gpus)
        work(*args, group)
        leave()
    except PROPAGATED as error:
        arguments = error.args
        if isinstance(error, OSError) and error.filename:
            arguments = (error.errno, error.strerror, str(error.filename))
        raised.put((next(each for each in PROPAGATED if isinstance(error, each)), arguments))
        if isinstance(error, StoppedRun):  # as all processes do
            leave()
            sys.exit(0)
        sys.exit(1)
    except Exception as error:
        lacks = shortage(error)
        if lacks is None:
            raise
        raised.put((RuntimeError, (str(error) or lacks,)))
        sys.exit(1)


def _leave_signals_to_parent() -> None:
    """Ignore signals while the parent lives: it receives them too and handles them."""
    started_us = parent_process()
    assert started_us is not None

    def note(number: int, _: FrameType | None) -> None:
        if os.getppid() != started_us.pid:  # the system sends a signal when the parent dies
            os._exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, note)
    unblock_signals()
    if os.getppid() != started_us.pid:
        os._exit(1)
