"""Checks that tables match their records."""

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
    """A file of a table that does not match the records.

    Attributes:
        file: The file's name.
        line: Number of the first line that differs, from 1; None where the file is missing.
        found: That line in the file; None past its end, or where it is missing.
        expected: That line as rendered from the records; None past the end.
    """

    file: str
    line: int | None = None
    found: str | None = None
    expected: str | None = None


@dataclass(frozen=True)
class TableCheck:
    """The check of one table.

    Attributes:
        folder: The table's folder.
        experiment: The experiment's name.
        right: Whether all records can be read and all files match them.
        damaged: Problems of records that cannot be read, one line each.
        differences: Differences between files and records, one for each file.
    """

    folder: Path
    experiment: str
    right: bool
    damaged: tuple[str, ...]
    differences: tuple[Difference, ...]


def check_table(plan: Plan, path: Path) -> TableCheck:
    """Render the tables from a file of records, and compare them with the files next to it.

    Pictures are not compared, because their bytes depend on the version of Matplotlib.

    Args:
        plan: The experiment with the settings of the records.
        path: The file of records.
    """
    archive = read_archive(path, plan)
    table = build_table(plan, *assign(plan, archive.results))
    found: list[Difference] = []
    for kind in RENDERERS:
        file = path.with_name(f"table.{kind}")
        if not file.is_file():
            found.append(Difference(file.name))
            continue
        there = file.read_text(encoding="utf-8", errors="replace").split("\n")
        given = render(table, kind).split("\n")
        both = enumerate(zip_longest(there, given), start=1)
        found += [Difference(file.name, n, a, b) for n, (a, b) in both if a != b][:1]
    return TableCheck(
        path.parent, plan.name, not (found or archive.damaged), archive.damaged, tuple(found)
    )


def check_text(check: TableCheck) -> str:
    """Return in words whether a table matches its records, with a line for each file that differs.

    Records that cannot be read get a line too.
    """
    lines = [f"{check.folder}: {'matches its records' if check.right else 'differs'}"]
    lines += [f"  left out: {each}" for each in check.damaged]
    for each in check.differences:
        what = "is missing" if each.line is None else f"differs from line {each.line} on"
        lines.append(f"  {each.file} {what}")
    return "\n".join(lines)


def same_weights(paths: Iterable[Path]) -> list[str]:
    """Return a line for each group of different runs with the same recorded weights."""
    archives = [read_archive(path) for path in paths]
    return name_same_weights(result for each in archives for result in each.results.values())
