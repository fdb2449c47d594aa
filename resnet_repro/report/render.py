"""A table as md, csv, json or tex."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.experiment import PaperValues
from resnet_repro.report.statistics import Cell
from resnet_repro.report.tables import Line, Table
from resnet_repro.report.text import markdown

HEADER = (
    "network",
    "layers",
    "params",
    "paper error",
    "our error",
    "difference",
    "paper top-5",
    "our top-5",
    "top-5 difference",
    "training error",
    "seeds",
)


def _texts(line: Line) -> list[str]:
    """Return a line as it is printed, one text per column of `HEADER`."""
    return [
        line.name,
        str(line.layers or ""),
        f"{line.params / 1e6:.2f}M" if line.params else "",
        _paper_text(line.paper),
        "" if line.cited else _ours_text(line),
        _difference_text(line.ours) if line.ours else "",
        "" if line.paper.top5 is None else f"{line.paper.top5:.{line.paper.decimals}f}",
        _cell_text(line.top5) if line.top5 else "",
        _difference_text(line.top5) if line.top5 else "",
        f"{line.train_error:.2f}" if line.train_error is not None else "",
        "" if line.cited else f"{_num_ended(line)}/{line.wanted}",
    ]


def _num_ended(line: Line) -> int:
    return (line.ours.num_runs if line.ours else 0) + len(line.failed)


def _paper_text(paper: PaperValues) -> str:
    if paper.fail:
        return "fail"
    if paper.error_above is not None:
        return f"> {paper.error_above:g}"
    if paper.error is None:
        return ""
    return _with_spread(paper.error, paper.mean, paper.std, paper.decimals)


def _with_spread(value: float, mean: float | None, std: float | None, decimals: int = 2) -> str:
    text = f"{value:.{decimals}f}"
    if mean is None or std is None:
        return text
    return f"{text} ({mean:.{decimals}f} +- {std:.{decimals}f})"


def _ours_text(line: Line) -> str:
    marks = _marks(line.notes)
    if line.ours is None:
        running = f"{100 * line.progress:.0f} % done" if line.progress is not None else "-"
        return ("fail" if line.failed else running) + marks
    text = _cell_text(line.ours)
    if line.failed:
        text += f", {len(line.failed)} fail"
    if line.shortened:
        text = f"({text} after {line.shortened[0]} of {line.shortened[1]} iterations)"
    return text + marks


def _marks(notes: tuple[int, ...]) -> str:
    """Return footnote marks; three or more in a row as `[3-7]`."""
    rows: list[list[int]] = []
    for number in sorted(notes):
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return "".join(
        f" [{row[0]}-{row[-1]}]" if len(row) > 2 else "".join(f" [{number}]" for number in row)
        for row in rows
    )


def _cell_text(cell: Cell) -> str:
    if cell.value is not None:
        return _with_spread(cell.value, cell.mean, cell.std)
    return f"{cell.mean:.2f}" + (f" +- {cell.std:.2f}" if cell.std is not None else "")


def _difference_text(ours: Cell) -> str:
    if ours.difference is None:
        return ""
    return f"{ours.difference:+.2f}" + (f" ({ours.compared})" if ours.compared else "")


def render_md(table: Table) -> str:
    """Render for a README, and for the screen."""
    header, rows = _used_columns(table)
    rows = [[text.replace("+-", "±") for text in row] for row in rows]
    parts = [f"**{table.title}**", markdown(header, rows)]
    if table.notes:
        parts.append("\n".join(f"[{n}] {text}  " for n, text in enumerate(table.notes, start=1)))
    parts.append("\n".join(f"- {remark}" for remark in table.remarks).replace("+-", "±"))
    return "\n\n".join(parts) + "\n"


def render_tex(table: Table) -> str:
    """Render for a paper: needs the booktabs package."""
    header, rows = _used_columns(table)
    lines = [" & ".join(_tex(text) for text in row) + r" \\" for row in rows]
    notes = [rf"% [{n}] {text}" for n, text in enumerate(table.notes, start=1)]
    return "\n".join(
        [
            rf"% {table.title}",
            *notes,
            *(rf"% {remark}" for remark in table.remarks),
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            " & ".join(_tex(text) for text in header) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _tex(text: str) -> str:
    special: dict[str, str | int | None] = {character: rf"\{character}" for character in "%_&#${}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": "$<$", ">": "$>$", "|": "$|$", "[": "{[}", "]": "{]}"}
    return text.translate(str.maketrans(special)).replace("+-", r"$\pm$")


def _used_columns(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return header and rows without the columns that are empty throughout."""
    rows = [_texts(line) for line in table.lines]
    used = [i for i in range(len(HEADER)) if any(row[i] for row in rows)]
    return [HEADER[i] for i in used], [[row[i] for i in used] for row in rows]


def render_json(table: Table) -> str:
    """Render every number, unrounded."""
    return json.dumps(asdict(table), indent=1) + "\n"


def render_csv(table: Table) -> str:
    """Render one line per row, numbers unrounded, for a spreadsheet or a data frame."""
    file = io.StringIO()
    records = [_flat(line) for line in table.lines]
    writer = csv.DictWriter(file, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def _flat(line: Line) -> dict[str, Any]:
    ours = line.ours
    return {
        "network": line.name,
        "layers": line.layers,
        "params": None if line.params is None else round(line.params),
        "cited": line.cited,
        "paper_error": line.paper.error,
        "paper_error_above": line.paper.error_above,
        "paper_fail": line.paper.fail,
        "paper_statistic": line.paper.statistic,
        "paper_mean": line.paper.mean,
        "paper_std": line.paper.std,
        "our_value": ours.value if ours else None,
        "our_mean": ours.mean if ours else None,
        "our_std": ours.std if ours else None,
        "difference": ours.difference if ours else None,
        "paper_top5": line.paper.top5,
        "our_top5": line.top5.mean if line.top5 else None,
        "our_top5_std": line.top5.std if line.top5 else None,
        "top5_difference": line.top5.difference if line.top5 else None,
        "train_error": line.train_error,
        "num_runs": ours.num_runs if ours else 0,
        "num_failed": len(line.failed),
        "num_wanted": line.wanted,
        "iterations_of": "/".join(map(str, line.shortened)) if ours and line.shortened else "",
        "notes": " ".join(map(str, line.notes)),
    }


RENDERERS: dict[str, Callable[[Table], str]] = {
    "md": render_md,
    "csv": render_csv,
    "json": render_json,
    "tex": render_tex,
}


def render(table: Table, kind: str) -> str:
    """Render a table as `md`, `csv`, `json` or `tex`.

    Raises:
        UserError: It is none of these.
    """
    if kind not in RENDERERS:
        raise UserError(f"format={kind}: it can be {', '.join(RENDERERS)}")
    return RENDERERS[kind](table)
