"""Whether a table is exactly what its records give."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from resnet_repro.plan import Plan
from resnet_repro.records.archive import name_same_weights, read_archive
from resnet_repro.records.results import assign
from resnet_repro.report.render import RENDERERS, render
from resnet_repro.report.tables import build_table


@dataclass(frozen=True)
class Difference:
    """A file of a table that is not what the records give.

    Attributes:
        file: Its name.
        line: The first that differs, from 1; None where the file is missing.
        found: That line; None where the file has ended, or is missing.
        expected: As the records give it; likewise.
    """

    file: str
    line: int | None = None
    found: str | None = None
    expected: str | None = None


@dataclass(frozen=True)
class TableCheck:
    """A table in a folder, beside its records.

    Attributes:
        folder: Where it is.
        experiment: That it is of.
        right: Whether all records can be read, and all files are what they give.
        damaged: What is wrong with records that cannot be read, a line each.
        differences: Of the others, one for each file.
    """

    folder: Path
    experiment: str
    right: bool
    damaged: tuple[str, ...]
    differences: tuple[Difference, ...]


def check_table(plan: Plan, path: Path) -> TableCheck:
    """Render the tables that a file of records gives, and compare with those beside it.

    Pictures are not compared: their bytes depend on the version that drew them.

    Args:
        plan: The experiment with the settings of the records.
        path: Of the records.
    """
    archive = read_archive(path, plan)
    table = build_table(plan, *assign(plan, archive.results))
    found: list[Difference] = []
    for kind in RENDERERS:
        file = path.with_name(f"table.{kind}")
        if not file.is_file():
            found.append(Difference(file.name))
            continue
        there, given = file.read_text(encoding="utf-8").split("\n"), render(table, kind).split("\n")
        both = enumerate(zip_longest(there, given), start=1)
        found += [Difference(file.name, n, a, b) for n, (a, b) in both if a != b][:1]
    return TableCheck(
        path.parent, plan.name, not (found or archive.damaged), archive.damaged, tuple(found)
    )


def check_text(check: TableCheck) -> str:
    """Return in words whether a table is what its records give; else a line for each file."""
    lines = [f"{check.folder}: {'as its records give it' if check.right else 'differs'}"]
    lines += [f"  left out: {each}" for each in check.damaged]
    for each in check.differences:
        what = "is missing" if each.line is None else f"differs from line {each.line} on"
        lines.append(f"  {each.file} {what}")
    return "\n".join(lines)


def same_weights(paths: Iterable[Path]) -> list[str]:
    """Return a line for each group of different runs that are recorded with the same weights."""
    archives = [read_archive(path) for path in paths]
    return name_same_weights(result for each in archives for result in each.results.values())
