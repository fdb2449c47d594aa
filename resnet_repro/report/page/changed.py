"""On the page, an experiment's own table next to those with changed settings."""

from collections.abc import Iterable
from dataclasses import dataclass

from resnet_repro.records.archive import RECORDS_FILE
from resnet_repro.report.compare import compare_tables
from resnet_repro.report.compare_text import columns, differences, remark
from resnet_repro.report.page.sections import Section
from resnet_repro.report.pairing import Recorded


@dataclass(frozen=True)
class Compared:
    """Several tables of one experiment, compared.

    Attributes:
        tables: Header and cells of what came out, then of what differs.
        remark: How the verdicts are made.
    """

    tables: tuple[tuple[list[str], list[list[str]]], ...]
    remark: str


def compare_changed(sections: Iterable[Section]) -> dict[str, Compared]:
    """Compare the tables of each experiment that has several; sweeps compare theirs themselves.

    Returns:
        What is shown in a section, by its anchor: that of the experiment as it is shipped, or else
        the first.
    """
    found: dict[str, dict[str, Section]] = {}
    for section in sections:
        if section.plan.sweep is None:
            is_own = section.plan.folder == section.plan.results / section.plan.name
            name = "as shipped" if is_own else section.plan.folder.name.removeprefix("changed-")
            found.setdefault(section.plan.name, {})[name] = section
    return {
        next(iter(each.values())).anchor: _compare(each) for each in found.values() if len(each) > 1
    }


def _compare(sections: dict[str, Section]) -> Compared:
    compared = compare_tables(
        {
            name: Recorded(
                section.plan.folder / RECORDS_FILE,
                section.plan,
                {each.row.name: each.results for each in section.runs},
            )
            for name, section in sections.items()
        }
    )
    different = ["what differs", *sections], differences(compared)
    return Compared((columns(compared), different), remark(compared))
