"""Interleaving of several loops in one process, each on its own CUDA stream.

The GPU computes one loop's work while Python queues the others', so that small networks, each of
which leaves most of a GPU idle, share it.
"""

import time
from collections.abc import Generator
from contextvars import copy_context

import torch

from resnet_repro.engine.streams import return_stream, take_stream

Loop = Generator[None, None, None]


class StreamedLoop:
    """A loop with its own stream, to be closed at its end.

    Args:
        work: A generator that yields when another loop may run.
        device: The device that it computes on.
    """

    def __init__(self, work: Loop, device: torch.device) -> None:
        self._work, self._context = work, copy_context()
        if device.index is not None:  # else leaving the stream's context would go back to GPU 0
            torch.cuda.set_device(device)
        self._stream = take_stream(device)

    def advance(self) -> bool:
        """Run until the next yield; return whether the loop has more to do."""
        with torch.cuda.stream(self._stream):
            try:
                self._context.run(next, self._work)
            except StopIteration:
                return False
        return True

    def close(self) -> None:
        """End the loop, and return its stream."""
        stream, self._stream = self._stream, None
        try:
            with torch.cuda.stream(stream):
                self._context.run(self._work.close)
        finally:
            return_stream(stream)


class SharedClock:
    """Seconds, shared equally by interleaved loops: the shares add up to the wall-clock time."""

    def __init__(self) -> None:
        self._seconds, self._since, self._num_sharing = 0.0, time.perf_counter(), 1

    def __call__(self) -> float:
        """Return each loop's share up to now, in seconds."""
        now = time.perf_counter()
        self._seconds += (now - self._since) / self._num_sharing
        self._since = now
        return self._seconds

    def divide_by(self, number: int) -> None:
        """Divide the time from now on by the number of loops."""
        self()
        self._num_sharing = max(1, number)


def interleave(works: list[Loop], device: torch.device) -> Loop:
    """Advance several loops in turn; yield after each round."""
    loops = [StreamedLoop(work, device) for work in works]
    try:
        while all([loop.advance() for loop in loops]):
            yield
    finally:
        for loop in loops:
            loop.close()
