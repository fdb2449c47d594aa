"""What the page of `report` says of one experiment: a table with links, its runs and pictures."""

from base64 import b64encode
from collections import Counter
from dataclasses import dataclass

from matplotlib.figure import Figure

from resnet_repro.plan import Plan, Row
from resnet_repro.records.archive import Result
from resnet_repro.records.results import collect, strangers
from resnet_repro.report.cells import used_columns
from resnet_repro.report.pictures.all import draw_all
from resnet_repro.report.pictures.style import to_svg
from resnet_repro.report.tables import Line, Table, build_table


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: As in every other format.
        kind: `name`, `number` or `verdict`.
        word: Of a verdict.
        link: To the runs behind a number; empty where there are none.
    """

    text: str
    kind: str
    word: str = ""
    link: str = ""


@dataclass(frozen=True)
class RowRuns:
    """The runs behind a row of the table.

    Attributes:
        row: The row.
        anchor: Name of their place on the page.
        results: The runs.
        failed: Seeds that count as failed.
    """

    row: Row
    anchor: str
    results: list[Result]
    failed: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """An experiment on the page.

    Attributes:
        anchor: Name of its place on the page.
        plan: The experiment.
        table: Its table.
        header: The table's columns that are used.
        cells: The table's cells, row by row.
        runs: Behind each row that has any.
        pictures: Name and `data:` address of each.
    """

    anchor: str
    plan: Plan
    table: Table
    header: list[Cell]
    cells: list[list[Cell]]
    runs: list[RowRuns]
    pictures: list[tuple[str, str]]

    @property
    def verdicts(self) -> Counter[str]:
        """How often each verdict was given, of either error."""
        lines = self.table.lines
        both = [each for line in lines for each in (line.verdict, line.verdict_top5) if each]
        return Counter(each.word for each in both)

    @property
    def claims(self) -> Counter[str]:
        """How many claims hold, fail, and are undecided."""
        return Counter(claim.word for claim in self.table.claims)


def make_section(plan: Plan) -> Section | None:
    """Return what the page says of an experiment; None where nothing of it is recorded."""
    results = collect(plan)
    if not any(results.values()):
        return None
    table = build_table(plan, results, strangers(plan))
    anchor = "-".join(plan.folder.relative_to(plan.results).parts)
    runs = [
        RowRuns(row, f"{anchor}-row-{number}", results[row.name], line.failed)
        for number, (row, line) in enumerate(zip(plan.rows, table.lines, strict=True), start=1)
        if results.get(row.name)
    ]
    links = {each.row.name: f"#{each.anchor}" for each in runs}
    header, texts = used_columns(table)
    return Section(
        anchor=anchor,
        plan=plan,
        table=table,
        header=[Cell(name, _kind(name)) for name in header],
        cells=[
            [_cell(name, text, line, links) for name, text in zip(header, row, strict=True)]
            for line, row in zip(table.lines, texts, strict=True)
        ],
        runs=runs,
        pictures=draw_all(plan, table, results, _picture),
    )


def _kind(column: str) -> str:
    if column == "network":
        return "name"
    return "verdict" if column.endswith("verdict") else "number"


def _cell(column: str, text: str, line: Line, links: dict[str, str]) -> Cell:
    kind, text = _kind(column), text.replace("+-", "±")
    if kind == "verdict":
        verdict = line.verdict if column == "verdict" else line.verdict_top5
        word = verdict.word if verdict else ""
        return Cell(text.removeprefix(word), kind, word)
    has_runs = column in ("our error", "our top-5", "training error") and text not in ("", "-")
    return Cell(text, kind, link=links.get(line.name, "") if has_runs else "")


def _picture(name: str, figure: Figure) -> tuple[str, str]:
    return name, _address(to_svg(figure, with_fonts=True))


def _address(svg: bytes) -> str:
    """Return a picture as an address, so that its ids do not meet those of the others."""
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
