"""Untrusted text made safe to print: hidden and control characters are escaped."""

import logging
import re
from typing import Any, TextIO

# Control characters (except tab and newline), and Unicode characters that hide or reorder text:
# zero-width characters, direction marks, line separators, tags; and lone surrogates.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
BREAK = re.compile("[ \t]*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+[ \t]*")


def visible(text: str) -> str:
    """Return text with its hidden characters replaced by backslash escapes."""
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return `visible` text on one line."""
    return visible(BREAK.sub(" ", text).replace("\t", " "))


class VisibleOutput:
    """A stream that passes text through `visible`, so that it cannot control a terminal.

    Args:
        stream: The stream to print to; all attributes except `write` are forwarded to it.
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
    """Passes log messages through `visible`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted message."""
        return visible(super().format(record))
