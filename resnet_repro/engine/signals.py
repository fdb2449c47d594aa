"""Stopping between two iterations when the user or the machine's owner asks for it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Stop:
    """Whether a signal has come."""

    is_set = False


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note SIGINT, SIGTERM and SIGHUP, to stop after an iteration; a second one stops at once."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, _: FrameType | None) -> None:
        stop.is_set = True
        with suppress(OSError):  # a closed terminal
            os.write(2, b"\nstopping after this iteration; once more stops without saving\n")
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
