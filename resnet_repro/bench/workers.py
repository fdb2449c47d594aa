"""Loops that run in worker processes, timed concurrently."""

import signal
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch.distributed.distributed_c10d import Store

from resnet_repro.engine.device import synchronize
from resnet_repro.engine.interleave import Loop
from resnet_repro.errors import shortage
from resnet_repro.plugins import registry
from resnet_repro.process import SIGNALS

GRACE_SECONDS = 20.0


class Workers:
    """Worker processes that each run a loop.

    Settings of torch and of the C library stay within each process.

    Args:
        make: Function that returns a loop, which yields after each iteration; importable by name.
        arguments: Arguments of `make`, for each process.
        device: The device that the loops run on.
        store: Where the processes meet, kept while they live; None where they do not.
    """

    def __init__(
        self,
        make: Callable[..., Loop],
        arguments: list[tuple[Any, ...]],
        device: torch.device,
        store: Store | None = None,
    ) -> None:
        self._store = store
        context = get_context("spawn")
        self._pipes, self._processes = [], []
        for each in arguments:
            ours, theirs = context.Pipe()
            # Not daemons, because the baseline loop starts child processes.
            process = context.Process(
                target=_serve,
                args=(theirs, make, each, device, registry.loaded()),
                daemon=False,
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def iterate(self, number: int) -> None:
        """Run some iterations in each process, and wait until all are done.

        Raises:
            torch.OutOfMemoryError: A process ran out of device memory.
            EOFError: A process died, and printed why.
        """
        waiting = list(self._pipes)
        try:
            for pipe in waiting:
                pipe.send(number)
            while waiting:
                for ready in wait(waiting):
                    assert isinstance(ready, Connection)
                    if failure := ready.recv():
                        self._kill()  # others may wait for the one that failed, for hours
                        raise torch.OutOfMemoryError(failure)
                    waiting.remove(ready)
        except ConnectionError as error:
            raise EOFError from error

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """Stop the processes and their children."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(GRACE_SECONDS)
            process.kill()


def _serve(
    asked: Connection,
    make: Callable[..., Loop],
    arguments: tuple[Any, ...],
    device: torch.device,
    plugins: tuple[str, ...],
) -> None:
    """Run the requested iterations, and report when they are done or memory ran out."""
    for each in SIGNALS:  # the parent ends this process by closing the pipe
        signal.signal(each, signal.SIG_IGN)
    registry.load(plugins)
    with closing(make(*arguments)) as loop, suppress(EOFError, ConnectionError):
        while number := asked.recv():
            failure = None
            try:
                for _ in range(number):
                    next(loop)
                synchronize(device)
            except RuntimeError as error:  # also of a GPU without room for one more process
                if not shortage(error):
                    raise
                failure = str(error)
            asked.send(failure)
