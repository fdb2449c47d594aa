"""Writing of an experiment's tables, pictures and records to its folder."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from resnet_repro.files import READ_ONLY, exclusive_lock, write_atomically
from resnet_repro.plan import Plan, is_published
from resnet_repro.records.archive import RECORDS_FILE, Result, read_archive
from resnet_repro.records.results import load_results, unmatched_results, write_records
from resnet_repro.report.pictures.registry import write_pictures
from resnet_repro.report.render import RENDERERS, render
from resnet_repro.report.tables import Table, build_table
from resnet_repro.settings.sweep import value_text

logger = logging.getLogger("resnet_repro")


def write_outputs(plan: Plan) -> tuple[Table, list[Path]]:
    """Write an experiment's tables, pictures and `records.json`, if it has any runs.

    Published results are only read, because another version of Matplotlib would change the
    pictures. If the folder is read-only, or damaged runs in `records.json` would be lost, nothing
    is written and a warning is logged.

    Returns:
        The table, and the files of the pictures that were written.
    """
    with exclusive_lock(
        plan.results / "runs" / ".lock"
    ):  # several jobs of a cluster may end at once
        results = load_results(plan)
        table = build_table(plan, results, unmatched_results(plan))
        if is_published(plan.results) or not any(results.values()):
            return table, []
        path = plan.folder / RECORDS_FILE
        if path.is_file() and read_archive(path, plan).damaged:
            logger.warning(
                "nothing was written, as %s is damaged and would lose runs: fix it", path
            )
            return table, []
        try:
            write_records(_of_networks(plan, [line.name for line in table.lines]), results)
            # Of runs that have ended alone, as `records.json` has them: it gives the same files.
            ended = {row: [each for each in found if each.ended] for row, found in results.items()}
            written = build_table(plan, ended, unmatched_results(plan))
            return table, write_table(plan, written, results)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            logger.warning("nothing was written: %s: %s", plan.folder, error.strerror)
            return table, []


def _of_networks(plan: Plan, names: Sequence[str]) -> Plan:
    """Return a sweep with the networks of its table selected, and the word that selects them.

    A job of a sweep is asked for one row with one value, and writes the table of all that have
    results.
    """
    if plan.sweep is None or set(names) == set(plan.selected):
        return plan
    networks = list(dict.fromkeys(row.network for row in plan.rows if row.name in names))
    word = f"row={value_text(networks, grammar=True)}"
    others = [each for each in plan.changes if not each.startswith("row=")]
    return replace(plan, selected=tuple(names), changes=(word, *others))


def write_table(plan: Plan, table: Table, results: dict[str, list[Result]]) -> list[Path]:
    """Write a table in every format, and its pictures; return the pictures' files."""
    for kind in RENDERERS:
        write_atomically(plan.folder / f"table.{kind}", render(table, kind))
    return write_pictures(plan, table, results)
