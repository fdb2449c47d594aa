"""What each of our processes needs before it does anything: usable streams, no endless waits."""

import codecs
import io
import os
import signal
import stat
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

from resnet_repro.errors import UserError

# What people and batch systems send before they end a process: SIGUSR1 sbatch's --signal=USR1@120
# and Grid Engine, SIGUSR2 LSF and Grid Engine, SIGXCPU a limit of CPU time, every second.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
           signal.SIGXCPU)  # fmt: skip
# What Unicode itself has no ASCII letters for.
LOOK_ALIKES = {"±": "+-", "·": ".", "≤": "<=", "≥": ">=", "“": '"', "”": '"', "—": "-",
               "\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-",
               "\N{RIGHT SINGLE QUOTATION MARK}": "'"}  # fmt: skip
_prepared = False


def prepare_process() -> None:
    """Make the standard streams usable, and have a named pipe refused where a file is wanted."""
    global _prepared
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=look_alike.__name__)
    if not _prepared:  # a hook stays as long as the process
        sys.addaudithook(_refuse_pipes)
        _prepared = True


def _open_streams() -> None:
    """Open /dev/null in place of the standard streams that are closed (`2>&-`).

    Else the next file that is opened takes the place of one, and gets what is printed.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one; processes that we start have it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def look_alike(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII in place of what a stream's encoding lacks: `+-` for ±, `e` for é, else `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(letter: str) -> str:
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return LOOK_ALIKES.get(letter) or plain or "?"


codecs.register_error(look_alike.__name__, look_alike)


def _refuse_pipes(event: str, arguments: tuple[object, ...]) -> None:
    """Raise a UserError where a named pipe is opened: reading and writing wait for its other end.

    Here and not where each file is opened, because libraries open most of them.
    """
    if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path, flags = arguments[0], arguments[2]
    with suppress(OSError, ValueError):  # the opening itself says what is wrong
        waits = not (isinstance(flags, int) and flags & os.O_NONBLOCK)
        if waits and stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 - also bytes
            raise UserError(f"{os.fsdecode(path)} is a pipe (FIFO), and a file is wanted there")
