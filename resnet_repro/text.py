"""Numbers and tables as text."""

import re
from collections.abc import Iterable, Sequence

from resnet_repro.visible import one_line

SHOWN = 5  # names in a message


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table with padded columns, readable as plain text.

    Numeric columns are right-aligned, all others left-aligned.
    """
    header, *rows = (
        [re.sub(r"(\\*)\|", r"\1\1\|", as_markdown(cell)) for cell in row]
        for row in (header, *rows)
    )
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(text) for text in column) for column in columns]
    numeric = [all(text[:1] in "0123456789+-(>~" for text in column[1:]) for column in columns]

    def join(cells: Sequence[str]) -> str:
        padded = zip(cells, widths, numeric, strict=True)
        return f"| {' | '.join(c.rjust(w) if n else c.ljust(w) for c, w, n in padded)} |"

    rule = ["-" * (w - 1) + (":" if n else "-") for w, n in zip(widths, numeric, strict=True)]
    return "\n".join([join(header), join(rule), *(join(row) for row in rows)])


def as_markdown(text: str) -> str:
    """Return text on one line, with Markdown's HTML, links and images escaped."""
    text = re.sub(r"(?<=\])[(:]|(?<=!)\[", r"\\\g<0>", one_line(text))
    return re.sub(r"(\\*)(<(?=[A-Za-z/!?]))", r"\1\1\\\2", text)


def consecutive(numbers: Iterable[int]) -> list[list[int]]:
    """Return numbers in rising order, in lists of consecutive ones."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts


def rate_text(images: float) -> str:
    """Format images per second: whole ones, or two digits of few."""
    return f"{images:.0f} images/s" if images >= 10 else f"{images:.2g} images/s"


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"


def count(number: int, noun: str) -> str:
    """Return `1 run`, `2 runs`, `2 processes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


def few(names: Sequence[str]) -> str:
    """Join the first names, and say how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
