"""Stopping between two iterations when the user or the machine's owner asks for it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from resnet_repro.distributed import Flag


class StoppedRun(KeyboardInterrupt):
    """The user or the machine's owner asked a run to stop; what it did is saved. No error."""


class Stop:
    """Whether a signal has come, to us or to the process that started us.

    Args:
        flag: What that process sets; None where signals reach us.
    """

    def __init__(self, flag: Flag | None = None) -> None:
        self.came, self._flag = False, flag

    def is_set(self) -> bool:
        """Return whether one has come."""
        return self.came or (self._flag is not None and self._flag.is_set())


@contextmanager
def stop_signals(flag: Flag | None = None) -> Iterator[Stop]:
    """Note SIGINT, SIGTERM and SIGHUP, to stop after an iteration; a second one stops at once.

    With a flag, the process that started us minds the signals.
    """
    stop = Stop(flag)
    if flag is not None:
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, _: FrameType | None) -> None:
        stop.came = True
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
