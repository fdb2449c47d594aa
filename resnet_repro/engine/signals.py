"""Stopping between two iterations, on a signal from the user or the system."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from resnet_repro.distributed.group import Flag
from resnet_repro.process import SIGNALS

# The `SIGNALS` that stop at once the second time. (A closing terminal may send SIGHUP twice.)
AGAIN: dict[int, str] = {
    signal.SIGINT: "; press Ctrl-C again to quit without saving",
    signal.SIGTERM: "; a second SIGTERM quits without saving",
}
SAME_SECONDS = 1.0  # torchrun forwards a Ctrl-C that its processes get from the terminal too
RENEW_SECONDS = 1.0


class Stop:
    """Whether a stop signal has arrived, here or in the parent process.

    Args:
        flag: The flag that the parent process sets; None if signals arrive here.
    """

    def __init__(self, flag: Flag | None = None) -> None:
        self.came, self._flag = False, flag
        self._renewed = time.monotonic()

    def is_set(self) -> bool:
        """Return whether a signal has arrived."""
        now = time.monotonic()
        if now > self._renewed + RENEW_SECONDS:
            self._renewed = now
            _put_back()
        return self.came or (self._flag is not None and self._flag.is_set())


def _put_back() -> None:
    """Put Python's handlers of `SIGNALS` back in place.

    A library can have replaced them after we set them: on an H100, a run that had compiled its
    kernels was ended by a SIGTERM without our handler, and one that found them compiled was not.
    """
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, handler)


@contextmanager
def stop_signals(flag: Flag | None = None) -> Iterator[Stop]:
    """Catch `SIGNALS`, to stop after an iteration.

    A second SIGINT or SIGTERM stops at once. A signal that was ignored when the program started
    stays ignored, as after `nohup`. With a flag, the parent process handles the signals.
    """
    stop = Stop(flag)
    if flag is not None:
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    noted = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    first: dict[int, float] = {}

    def note(number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if number in AGAIN and now - first.setdefault(number, now) > SAME_SECONDS:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)
        elif not stop.came:
            stop.came = True
            words = f"\n{signal.Signals(number).name}: stopping after this iteration"
            with suppress(OSError):  # a closed terminal
                os.write(2, f"{words}{AGAIN.get(number, '')}\n".encode())

    for number in noted:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number in noted:
            signal.signal(number, before[number])
