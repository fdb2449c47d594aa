"""Text of others in a CSV file or in LaTeX: it neither counts as a formula nor as a command."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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


def csv_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV, at least one; they may differ in keys."""
    file = io.StringIO()
    names = dict.fromkeys(name for record in records for name in record)
    writer = csv.DictWriter(file, fieldnames=list(names), lineterminator="\n")
    writer.writeheader()
    for record in records:
        texts = {key: csv_text(each) for key, each in record.items() if isinstance(each, str)}
        writer.writerow({**record, **texts})
    return file.getvalue()


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
