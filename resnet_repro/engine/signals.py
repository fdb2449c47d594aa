"""Stopping between two iterations when the user or the machine's owner asks for it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether a signal has come."""

    is_set = False


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note SIGINT and SIGTERM, to stop after an iteration; a second one is not waited for."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: FrameType | None) -> None:
        stop.is_set = True
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
