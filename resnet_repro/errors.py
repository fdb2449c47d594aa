"""The one exception that means: the user can mend this. And what a machine can run out of."""

import difflib
import errno
import re
from collections.abc import Iterable

OUT_OF_MEMORY = re.compile(
    r"out of memory|can(?:'t|not) allocate|not enough memory|failed to map segment|bad_alloc"
    r"|unable to mmap|can't start new thread",
    re.IGNORECASE,
)
READER_DIED = re.compile(r"DataLoader worker \(pid|DataLoader timed out")


class UserError(Exception):
    """A mistake of the user's; the message says in one or two lines what to change.

    The command line prints it without a traceback and ends with exit code 1. Anything else that
    is raised is a mistake of ours and keeps its traceback.
    """


def require(condition: bool, message: str) -> None:
    """Raise a UserError unless a condition holds."""
    if not condition:
        raise UserError(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a UserError unless a setting is one of its choices."""
    require(value in choices, f"{key}={value}: it can be {', '.join(choices)}")


def shortage(error: BaseException) -> str | None:
    """Return what the machine ran out of, in words; None where the error has another reason.

    Told by its text, because torch, NumPy, the loader of libraries and threads each have their own.
    """
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is imported late
        return "out of GPU memory"
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return "out of memory"
    if isinstance(error, RuntimeError | ImportError | OSError) and OUT_OF_MEMORY.search(text):
        return "out of memory"
    if isinstance(error, RuntimeError) and READER_DIED.search(text):
        if "timed out" in text:
            return "no image was read for minutes: the disk of data.root does not answer"
        return (
            "a process that reads images was killed; the kernel does so when memory runs out, and "
            "a smaller compute.workers needs less"
        )
    return None


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return how to go on after a name that does not exist."""
    names = [str(choice) for choice in choices]
    near = closest(word, names)
    return f": did you mean {near}?" if near else f"; there are {', '.join(names)}"


def closest(word: str, names: Iterable[str], least: float = 0.6) -> str | None:
    """Return the name that is most like a word; None where none is so much like it."""
    likeness = {name: difflib.SequenceMatcher(None, word, name).ratio() for name in names}
    near = [name for name in likeness if likeness[name] >= least]
    # Of ResNet-20 and ResNet-32, both as like ResNet-21, the one that begins like it.
    return max(near, key=lambda name: (likeness[name], _same_start(word, name)), default=None)


def _same_start(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
