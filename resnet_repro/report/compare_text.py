"""A comparison as md, csv or tex."""

from collections.abc import Sequence
from typing import Any

from resnet_repro.judge.measures import MEASURES
from resnet_repro.report.cells import interval_text
from resnet_repro.report.compare import ComparedRow, Comparison, Folder, Side
from resnet_repro.report.escapes import csv_table, tex_table
from resnet_repro.settings.sweep import value_text
from resnet_repro.text import as_markdown, markdown

NOTHING = "-"


def compared_text(compared: Sequence[Comparison], kind: str) -> str:
    """Return comparisons as `md`, `csv` or `tex`."""
    if kind == "csv":
        return _csv(compared)
    return "\n".join(map(_tex if kind == "tex" else _md, compared))


def _md(compared: Comparison) -> str:
    header, rows = columns(compared)
    different = differences(compared)
    parts = [as_markdown(title(compared)), markdown(header, rows)]
    if different:
        parts.append(markdown(["what differs", *_names(compared)], different))
    return "\n\n".join([*parts, remark(compared)]) + "\n"


def _tex(compared: Comparison) -> str:
    names = _names(compared)
    different = (
        f"{what}: " + "; ".join(f"{name} {value}" for name, value in zip(names, each, strict=True))
        for what, *each in differences(compared)
    )
    return tex_table(*columns(compared), [title(compared), *different, remark(compared)])


def _csv(compared: Sequence[Comparison]) -> str:
    """Return a line for each row and folder, numbers unrounded, with the values that differ."""
    records = [
        _flat(each, row, folder, side)
        for each in compared
        for row in each.rows
        for folder, side in zip(each.folders, row.sides, strict=True)
    ]
    return csv_table(records).removesuffix("\n")


def _flat(compared: Comparison, row: ComparedRow, folder: Folder, side: Side) -> dict[str, Any]:
    return {
        "experiment": compared.experiment,
        "folder": side.folder,
        "table": folder.table,
        "row": row.row,
        "mean": side.mean,
        "std": side.std,
        "num_runs": len(side.seeds),
        "num_failed": len(side.failed),
        "seeds": " ".join(map(str, side.seeds)),
        "difference": side.difference,
        "interval_low": side.interval.low if side.interval else None,
        "interval_high": side.interval.high if side.interval else None,
        "confidence": row.confidence if side.interval else None,
        "verdict": side.verdict,
        "why": side.why,
        "same_weights": side.same_weights,
        **{
            f"setting {each.setting}": value_text(each.values[side.folder])
            for each in compared.settings
            if row.row in each.rows and side.folder in each.values
        },
        **{
            f"environment {each.fact}": "; ".join(each.values.get(side.folder, ()))
            for each in compared.environment
        },
    }


def title(compared: Comparison) -> str:
    """Return `quickstart: mine (results/quickstart), cluster (/scratch/results/quickstart)`."""
    tables = {each.table for each in compared.folders if each.table}
    name = tables.pop() if len(tables) == 1 else compared.experiment
    return f"{name}: {', '.join(map(_where, compared.folders))}"


def _where(folder: Folder) -> str:
    if folder.path is None:
        return f"{folder.name} (no results)"
    where = str(folder.path.parent)
    return folder.name if where == folder.name else f"{folder.name} ({where})"


def _names(compared: Comparison) -> list[str]:
    return [each.name for each in compared.folders]


def columns(compared: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return header and cells: the value in each folder, then the differences from the first."""
    first, *others = compared.folders
    judged = [
        number
        for number, each in enumerate(others, start=1)
        if any(row.sides[number].verdict for row in compared.rows)
    ]
    header = ["row", *_names(compared)]
    for number in judged:
        name = compared.folders[number].name
        header += [f"{name} - {first.name}", "verdict" if len(others) == 1 else f"{name}: verdict"]
    header += ["same weights"] if judged else []
    rows = []
    for row in compared.rows:
        sides = [row.sides[number] for number in judged]
        cells = [row.row, *map(_value_text, row.sides)]
        for side in sides:
            cells += [_difference_text(side), _verdict_text(side)]
        if judged:
            cells.append(", ".join(_same_text(side, row.sides[0]) for side in sides))
        rows.append(cells)
    return header, rows


def _value_text(side: Side) -> str:
    if not side.num_runs:
        return NOTHING
    text = ""
    if side.mean is not None:
        spread = "" if side.std is None else f" ± {side.std:.2f}"
        text = f"{side.mean:.2f}{spread} ({len(side.seeds)})"
    failed = f"{len(side.failed)} of {side.num_runs} fail" if side.failed else ""
    return ", ".join(filter(None, [text, failed]))


def _difference_text(side: Side) -> str:
    if side.difference is None:
        return NOTHING
    return f"{side.difference:+.2f}" + (f" {interval_text(side.interval)}" if side.interval else "")


def _verdict_text(side: Side) -> str:
    if side.verdict is None:
        return NOTHING
    return f"{side.verdict}: {side.why}" if side.why else side.verdict


def _same_text(side: Side, first: Side) -> str:
    return NOTHING if side.same_weights is None else f"{side.same_weights} of {first.num_runs}"


def differences(compared: Comparison) -> list[list[str]]:
    """Return what differs of settings and environment, and its value in each folder."""
    lines = []
    for each in compared.settings:
        rows = "" if each.all_rows else f" ({', '.join(each.rows)})"
        values = {folder: value_text(value) for folder, value in each.values.items()}
        lines.append((f"{each.setting}{rows}", values))
    for fact in compared.environment:
        values = {folder: ", ".join(found) for folder, found in fact.values.items()}
        lines.append((fact.fact, values))
    names = _names(compared)
    return [[what, *(values.get(name) or NOTHING for name in names)] for what, values in lines]


def remark(compared: Comparison) -> str:
    """Return how the verdicts are made, or that there are none."""
    is_pair = len(compared.folders) == 2
    measure = MEASURES[compared.measure]
    text = f"{measure.label} in %, the number of seeds in parentheses."
    if not any(side.verdict for row in compared.rows for side in row.sides):
        first, *others = (each.path for each in compared.folders)
        is_asked = first and any(others)
        return text + " No row has runs both in the first folder and in another." * bool(is_asked)
    text += (
        f" Verdict by the {'95 % ' * is_pair}interval of the difference of expected "
        f"{measure.plural} (in brackets): same if within {compared.margin:g} points, else higher "
        f"or lower if it excludes zero."
    )
    if is_pair:
        return text
    return (
        f"{text} Intervals are corrected for the number of comparisons of their row (Bonferroni): "
        f"each has a confidence of 1 - 0.05 / that number, so that all of a row hold together in "
        f"95 % of cases."
    )
