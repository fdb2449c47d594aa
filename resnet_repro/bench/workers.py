"""Loops that are timed in processes of their own, all of them at the same time."""

from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from resnet_repro.engine.device import synchronize
from resnet_repro.engine.interleave import Loop

GRACE_SECONDS = 20.0


class Workers:
    """A loop in each of some processes.

    What one process asks of torch and of the C library is not asked in another.

    Args:
        make: Makes a loop, which yields after an iteration; importable by name.
        arguments: Of `make`, in each process.
        device: That they compute on.
    """

    def __init__(
        self, make: Callable[..., Loop], arguments: list[tuple[Any, ...]], device: torch.device
    ) -> None:
        context = get_context("spawn")
        self._pipes, self._processes = [], []
        for each in arguments:
            ours, theirs = context.Pipe()
            # Not daemons: the usual loop has children of its own.
            process = context.Process(
                target=_serve, args=(theirs, make, each, device), daemon=False
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def iterate(self, number: int) -> None:
        """Do some iterations in each process, and wait until all of them are done.

        Raises:
            torch.OutOfMemoryError: One found too little memory on its device.
            EOFError: One has died, and has printed why.
        """
        for pipe in self._pipes:
            pipe.send(number)
        failures = [pipe.recv() for pipe in self._pipes]
        for failure in filter(None, failures):
            raise torch.OutOfMemoryError(failure)

    def close(self) -> None:
        """End the processes, and theirs."""
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
) -> None:
    """Do as many iterations as asked, whenever asked; tell when, or what they lacked memory for."""
    # EOFError: nobody asks any more.
    with closing(make(*arguments)) as loop, suppress(EOFError):
        while number := asked.recv():
            failure = None
            try:
                for _ in range(number):
                    next(loop)
                synchronize(device)
            except torch.OutOfMemoryError as error:
                failure = str(error)
            asked.send(failure)
