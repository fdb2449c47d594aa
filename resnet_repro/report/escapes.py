"""Text of others in a CSV file or in LaTeX: it neither counts as a formula nor as a command."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from resnet_repro.visible import one_line


def csv_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula; a number stays one."""
    line = one_line(text)
    begins = unicodedata.normalize("NFKC", line).lstrip()[:1]
    is_number = re.fullmatch(r"[+-]?\d+(\.\d*)?", line)
    return f"'{line}" if begins and begins in "=+-@" and not is_number else line


def tex_text(text: str) -> str:
    """Return a text as LaTeX sets it; `+-` becomes a plus-minus sign."""
    special: dict[str, str | int | None] = {character: rf"\{character}" for character in "%_&#${}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": "$<$", ">": "$>$", "|": "$|$", "[": "{[}", "]": "{]}"}
    return one_line(text).replace("+-", "±").translate(str.maketrans(special | {"±": r"$\pm$"}))


def tex_table(header: Sequence[str], rows: Iterable[Sequence[str]], comments: Iterable[str]) -> str:
    """Return a table in LaTeX, below its comments; it needs the booktabs package."""
    return "\n".join(
        [
            *(f"% {one_line(comment)}" for comment in comments),
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            " & ".join(map(tex_text, header)) + r" \\",
            r"\midrule",
            *(" & ".join(map(tex_text, row)) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )
