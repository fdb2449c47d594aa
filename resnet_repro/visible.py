"""Text that somebody else wrote, made safe to print: every character stands for itself."""

import logging
import re
from typing import Any, TextIO

# Control characters (but tab and newline), and what Unicode has to hide or reorder text: zero
# width, the marks of writing direction, separators of lines, tags; and halves of characters.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
BREAK = re.compile("[ \t]*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+[ \t]*")


def visible(text: str) -> str:
    """Return text with its hidden characters written out, as a backslash and a number."""
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return text as `visible` does, on one line."""
    return visible(BREAK.sub(" ", text).replace("\t", " "))


class VisibleOutput:
    """A stream that prints text as `visible` returns it, so that it cannot steer a terminal.

    Args:
        stream: Where it is printed; for all but writing this is that stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Print text."""
        self._stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._stream, name)


class VisibleFormatter(logging.Formatter):
    """Formats what is logged as `visible` returns it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of what is logged."""
        return visible(super().format(record))
