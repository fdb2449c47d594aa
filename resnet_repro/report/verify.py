"""Whether a table is exactly what its records give."""

from itertools import zip_longest
from pathlib import Path

from resnet_repro.plan import Plan
from resnet_repro.report.archive import read_archive
from resnet_repro.report.render import RENDERERS, render
from resnet_repro.report.results import assign
from resnet_repro.report.tables import build_table


def differences(plan: Plan, path: Path) -> list[str]:
    """Render the tables that a file of records gives, and compare with those beside it.

    Pictures are not compared: their bytes depend on the version that drew them.

    Args:
        plan: The experiment with the settings of the records.
        path: Of the records.

    Returns:
        What differs: one line for each file.
    """
    table = build_table(plan, *assign(plan, read_archive(path).results))
    found = []
    for kind in RENDERERS:
        file = path.with_name(f"table.{kind}")
        if not file.is_file():
            found.append(f"{file.name} is missing")
            continue
        there, given = file.read_text(encoding="utf-8").split("\n"), render(table, kind).split("\n")
        both = enumerate(zip_longest(there, given), start=1)
        line = next((number for number, (a, b) in both if a != b), None)
        if line is not None:
            found.append(f"{file.name} differs from line {line} on")
    return found
