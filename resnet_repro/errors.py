"""Errors that the user can fix, stopped runs, and running out of memory or other resources."""

import difflib
import errno
import re
from collections.abc import Iterable

OUT_OF_MEMORY = re.compile(
    r"out of memory|can(?:'t|not) allocate|not enough memory|failed to map segment|bad_alloc"
    r"|unable to mmap|can't start new thread",
    re.IGNORECASE,
)
READER_DIED = re.compile(r"DataLoader worker \(pid|(DataLoader|reader of photographs) timed out")


class UserError(Exception):
    """An error the user can fix; the message says in one or two lines what to change.

    The command line prints it without a traceback and exits with code 1. Any other exception is a
    bug of ours and keeps its traceback.
    """


class StoppedRun(KeyboardInterrupt):
    """A signal asked a run to stop, and its progress is saved; not an error.

    All processes that train a run raise it together.
    """


def require(condition: bool, message: str) -> None:
    """Raise a UserError unless a condition holds."""
    if not condition:
        raise UserError(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a UserError unless a setting is one of its choices."""
    require(value in choices, f"{key}={value}: must be one of {', '.join(choices)}")


def shortage(error: BaseException) -> str | None:
    """Describe the resource the machine ran out of; None if the error has another cause.

    Matched by message, because torch, NumPy, the dynamic linker and threads raise different types.
    """
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's; torch is imported late
        return "out of GPU memory"
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return "out of memory"
    if isinstance(error, RuntimeError | ImportError | OSError) and OUT_OF_MEMORY.search(text):
        return "out of memory"
    if isinstance(error, RuntimeError) and READER_DIED.search(text):
        if "timed out" in text:
            return "no image was read for minutes: the disk of data.root does not respond"
        return (
            "an image-reading process was killed, probably by the kernel because memory ran out: "
            "a smaller compute.workers needs less memory"
        )
    return None


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: a suggestion, else the valid names."""
    names = [str(choice) for choice in choices]
    if not names:
        return ""
    near = closest(word, names)
    return f": did you mean {near}?" if near else f"; available: {', '.join(names)}"


def closest(word: str, names: Iterable[str], least: float = 0.6) -> str | None:
    """Return the name most similar to a word; None if none is at least `least` similar."""
    likeness = {name: difflib.SequenceMatcher(None, word, name).ratio() for name in names}
    near = [name for name in likeness if likeness[name] >= least]
    # ResNet-20 and ResNet-32 are equally similar to ResNet-21: prefer the longer common prefix.
    return max(near, key=lambda name: (likeness[name], _same_start(word, name)), default=None)


def _same_start(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


INTERRUPTED = 130  # the exit code a shell reports for a program ended by Ctrl-C
