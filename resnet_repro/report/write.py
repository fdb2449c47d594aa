"""An experiment's tables, pictures and records, written to its folder."""

from pathlib import Path

from resnet_repro.files import write_atomically
from resnet_repro.plan import Plan, is_published
from resnet_repro.records import alone
from resnet_repro.report.archive import Result
from resnet_repro.report.plots import write_pictures
from resnet_repro.report.render import RENDERERS, render
from resnet_repro.report.results import collect, strangers, write_records
from resnet_repro.report.tables import Table, build_table


def write_report(plan: Plan) -> tuple[Table, list[Path]]:
    """Write an experiment's tables, pictures and `records.json`; nothing where nothing has run.

    Published results are only read: pictures of another version of Matplotlib have other bytes.

    Returns:
        The table, and the pictures' files.
    """
    with alone(plan.results / "runs" / ".lock"):  # jobs of a cluster end as they like
        results = collect(plan)
        table = build_table(plan, results, strangers(plan))
        if is_published(plan.results) or not any(results.values()):
            return table, []
        write_records(plan, results)
        return table, write_table(plan, table, results)


def write_table(plan: Plan, table: Table, results: dict[str, list[Result]]) -> list[Path]:
    """Write a table in every format, and its pictures; return the pictures' files."""
    for kind in RENDERERS:
        write_atomically(plan.folder / f"table.{kind}", render(table, kind))
    return write_pictures(plan, table, results)
