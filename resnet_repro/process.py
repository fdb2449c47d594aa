"""Setup that each of our processes needs first: usable streams, no waiting on named pipes."""

import codecs
import io
import os
import signal
import stat
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from resnet_repro.errors import UserError

# Signals that users and batch systems send before they end a process: SIGUSR1 by sbatch's
# --signal=USR1@120 and Grid Engine, SIGUSR2 by LSF and Grid Engine, SIGXCPU every second once a CPU
# time limit is exceeded.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
           signal.SIGXCPU)  # fmt: skip
# Characters that Unicode normalization does not map to ASCII.
LOOK_ALIKES = {"±": "+-", "·": ".", "≤": "<=", "≥": ">=", "“": '"', "”": '"', "—": "-",
               "\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-",
               "\N{RIGHT SINGLE QUOTATION MARK}": "'"}  # fmt: skip
_prepared = False


def prepare_process() -> None:
    """Make the standard streams usable, and refuse named pipes where a file is expected."""
    global _prepared
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=look_alike.__name__)
    if not _prepared:  # an audit hook cannot be removed
        sys.addaudithook(_refuse_pipes)
        _prepared = True


def _open_streams() -> None:
    """Open /dev/null in place of closed standard streams (`2>&-`).

    Otherwise the next file opened would take a closed stream's number and receive our output.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # Gets the lowest free number, which is this one; child processes inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block `SIGNALS`, also in processes started meanwhile until they call `unblock_signals`.

    Such a process imports for seconds before it can handle a signal, which would end it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_signals() -> None:
    """Unblock signals in a process that was started within `signals_blocked`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def look_alike(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII for characters a stream cannot encode: `+-` for ±, `e` for é, otherwise `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(letter: str) -> str:
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return LOOK_ALIKES.get(letter) or plain or "?"


codecs.register_error(look_alike.__name__, look_alike)


def _refuse_pipes(event: str, arguments: tuple[object, ...]) -> None:
    """Raise a UserError when a named pipe is opened: opening one blocks until the other end opens.

    Done in an audit hook because libraries open most of the files.
    """
    if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path, flags = arguments[0], arguments[2]
    with suppress(OSError, ValueError):  # the open call itself reports these
        waits = not (isinstance(flags, int) and flags & os.O_NONBLOCK)
        if waits and stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 - also bytes
            raise UserError(f"{os.fsdecode(path)} is a named pipe (FIFO): a regular file is needed")
