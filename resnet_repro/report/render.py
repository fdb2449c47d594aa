"""A table in the formats md, csv, json and tex."""

from collections.abc import Callable
from typing import Any

from resnet_repro.judge.measures import MEASURES, TEST, Measure
from resnet_repro.judge.verdicts import Verdict
from resnet_repro.report.cells import claim_text, used_columns
from resnet_repro.report.class_table import ClassTable, class_texts, class_title
from resnet_repro.report.documents import as_json
from resnet_repro.report.escapes import csv_table, csv_text, tex_table
from resnet_repro.report.tables import Line, Table
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.settings.sweep import value_text
from resnet_repro.text import as_markdown, markdown


def render_md(table: Table) -> str:
    """Render as Markdown, for a README and for the terminal."""
    header, rows = used_columns(table)
    rows = [[text.replace("+-", "±") for text in row] for row in rows]
    parts = [f"**{as_markdown(table.title)}**", markdown(header, rows)]
    if table.per_class:
        header, rows = by_class(table.per_class, table)
        parts += [f"{class_title(table.per_class)}:", markdown(header, rows)]
    if table.claims:
        lines = [f"- **{each.word}**: {as_markdown(claim_text(each))}" for each in table.claims]
        changed = ", on runs with changed settings" if table.is_changed else ""
        parts.append("\n".join([f"Claims{changed}:", "", *lines]))
    if table.notes:
        notes = enumerate(map(as_markdown, table.notes), start=1)
        parts.append("\n".join(f"[{n}] {text}  " for n, text in notes))
    remarks = map(as_markdown, table.remarks)
    parts.append("\n".join(f"- {remark}" for remark in remarks).replace("+-", "±"))
    return "\n\n".join(parts) + "\n"


def by_class(classes: ClassTable, table: Table) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table's average precisions of each class."""
    return class_texts(classes, {line.name for line in table.lines if line.shortened})


def render_tex(table: Table) -> str:
    """Render as LaTeX, for a paper; needs the booktabs package."""
    header, rows = used_columns(table)
    comments = [
        table.title,
        *(f"[{n}] {text}" for n, text in enumerate(table.notes, start=1)),
        *(f"{each.word}: {claim_text(each)}" for each in table.claims),
        *table.remarks,
    ]
    text = tex_table(header, rows, comments)
    if table.per_class:
        comments = [class_title(table.per_class)]
        text += "\n" + tex_table(*by_class(table.per_class, table), comments)
    return text


def render_json(table: Table) -> str:
    """Render as JSON with all numbers unrounded."""
    return as_json(table)


def render_csv(table: Table) -> str:
    """Render as CSV, one line per row with unrounded numbers, for a spreadsheet or data frame."""
    return csv_table([_flat(table, line) for line in table.lines])


def _flat(table: Table, line: Line) -> dict[str, Any]:
    ours, first = line.ours, MEASURES[line.measure]
    return {
        "network": line.network,
        **_flat_values(line),
        "layers": line.layers,
        "params": None if line.params is None else round(line.params),
        "cited": line.cited,
        **_flat_paper(line.paper, first),
        "our_value": ours.value if ours else None,
        "our_mean": ours.mean if ours else None,
        "our_std": ours.std if ours else None,
        "difference": ours.difference if ours else None,
        **_flat_verdict("", line.verdict),
        **{k: v for key in table.measures[1:] for k, v in _flat_measure(line, key).items()},
        **_flat_classes(table.per_class, line.name),
        "train_error": line.train_error,
        "num_runs": ours.num_runs if ours else 0,
        "num_failed": len(line.failed),
        "num_wanted": line.wanted,
        "iterations_of": "/".join(map(str, line.shortened)) if line.shortened and line.runs else "",
        "notes": " ".join(map(str, line.notes)),
    }


def _flat_paper(paper: PaperValues, first: Measure) -> dict[str, Any]:
    """Return what the paper prints of the table's first measure, and how it summarizes its runs."""
    printed, is_error = first.printed(paper), first is TEST
    return {
        f"paper_{'error' if is_error else first.key}": printed.error,
        **({"paper_error_above": paper.error_above, "paper_fail": paper.fail} if is_error else {}),
        "paper_statistic": paper.statistic,
        "paper_mean": printed.mean,
        "paper_std": printed.std,
    }


def _flat_measure(line: Line, key: str) -> dict[str, Any]:
    """Return a further measure of a row."""
    ours = line.measured(key).ours
    return {
        f"paper_{key}": MEASURES[key].printed(line.paper).error,
        f"our_{key}": ours.mean if ours else None,
        f"our_{key}_std": ours.std if ours else None,
        f"{key}_difference": ours.difference if ours else None,
        **_flat_verdict(f"{key}_", line.measured(key).verdict),
    }


def _flat_classes(table: ClassTable | None, row: str) -> dict[str, Any]:
    """Return a row's values of each class: the paper's, and ours."""
    if table is None:
        return {}
    line = next((each for each in table.lines if each.name == row), None)
    values = {}
    for name in table.classes:
        key = f"{table.measure}_{csv_text(name)}"
        values[f"paper_{key}"] = line.paper.get(name) if line else None
        values[f"our_{key}"] = line.ours.get(name) if line else None
    return values


def _flat_values(line: Line) -> dict[str, Any]:
    """Return a row's values of the settings of a sweep, and its comparison with the baseline."""
    if not line.values:
        return {}
    verdict = line.contrast.verdict if line.contrast else None
    difference = verdict.interval.difference if verdict and verdict.interval else None
    return {
        **{key: value_text(each) for key, each in line.values.items()},
        "is_default": line.is_default,
        "is_baseline": line.is_baseline,
        "baseline_difference": difference,
        **_flat_verdict("baseline_", verdict),
    }


def _flat_verdict(prefix: str, verdict: Verdict | None) -> dict[str, Any]:
    interval = verdict.interval if verdict else None
    return {
        f"{prefix}verdict": verdict.word if verdict else None,
        f"{prefix}interval_low": interval.low if interval else None,
        f"{prefix}interval_high": interval.high if interval else None,
    }


RENDERERS: dict[str, Callable[[Table], str]] = {
    "md": render_md,
    "csv": render_csv,
    "json": render_json,
    "tex": render_tex,
}


def render(table: Table, kind: str) -> str:
    """Render a table as `md`, `csv`, `json` or `tex`."""
    return RENDERERS[kind](table)
