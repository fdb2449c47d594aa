"""Several pieces of work that take turns in one process, each on a stream of its own.

What one has given to the GPU is computed while Python attends to the others, and small networks
that leave most of a GPU idle share it.
"""

import time
from collections.abc import Generator
from contextvars import copy_context

import torch

Loop = Generator[None, None, None]


class StreamedLoop:
    """One of them.

    Args:
        work: It yields where another may go on.
        device: That it computes on.
    """

    def __init__(self, work: Loop, device: torch.device) -> None:
        self._work, self._context = work, copy_context()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def advance(self) -> bool:
        """Go on to where it yields next; return whether there is more to do."""
        with torch.cuda.stream(self._stream):
            try:
                self._context.run(next, self._work)
            except StopIteration:
                return False
        return True

    def close(self) -> None:
        """End it where it stands."""
        with torch.cuda.stream(self._stream):
            self._context.run(self._work.close)


class SharedClock:
    """Seconds, divided among those who take turns: the parts add up to what a clock shows."""

    def __init__(self) -> None:
        self._seconds, self._since, self._num_sharing = 0.0, time.perf_counter(), 1

    def __call__(self) -> float:
        """Return the part of each, up to now."""
        now = time.perf_counter()
        self._seconds += (now - self._since) / self._num_sharing
        self._since = now
        return self._seconds

    def divide_by(self, number: int) -> None:
        """Divide the time from now on among so many."""
        self()
        self._num_sharing = max(1, number)


def interleave(works: list[Loop], device: torch.device) -> Loop:
    """Let several works take turns; yield when each has had one."""
    loops = [StreamedLoop(work, device) for work in works]
    try:
        while all([loop.advance() for loop in loops]):
            yield
    finally:
        for loop in loops:
            loop.close()
