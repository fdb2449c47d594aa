"""Stopping between two iterations when the user or the machine's owner asks for it."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from resnet_repro.distributed.group import Flag
from resnet_repro.process import SIGNALS

# Of `SIGNALS`, a second one of these stops at once. (A terminal that closes may send SIGHUP twice.)
AGAIN: dict[int, str] = {
    signal.SIGINT: "; press Ctrl-C again to quit without saving",
    signal.SIGTERM: "; a second SIGTERM quits without saving",
}
SAME_SECONDS = 1.0  # torchrun passes on the Ctrl-C that its processes get from the terminal too


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
    """Note that a signal of `SIGNALS` came, to stop after an iteration.

    A second SIGINT, or a second SIGTERM, stops at once. A signal that was ignored when the program
    started stays ignored, as after `nohup`. With a flag, the process that started us minds them.
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


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Keep signals waiting, in processes started meanwhile too, until `unblock_signals` is called.

    Such a process imports for seconds before it can mind a signal, which would end it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_signals() -> None:
    """Have this process, which was started with signals held back, get them from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
