"""The page's section on one experiment: the table with links, the runs and the pictures."""

from base64 import b64encode
from collections import Counter
from dataclasses import dataclass

from matplotlib.figure import Figure

from resnet_repro.plan import Plan, Row
from resnet_repro.records.archive import Result
from resnet_repro.records.results import load_results, unmatched_results
from resnet_repro.report.cells import TRAINING, measure_columns, used_columns
from resnet_repro.report.class_table import class_title
from resnet_repro.report.pictures.registry import draw_all
from resnet_repro.report.pictures.style import to_svg
from resnet_repro.report.render import by_class
from resnet_repro.report.tables import Line, Table, build_table


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: The text, as in the other formats; for a verdict, what follows the word.
        kind: `name`, `number` or `verdict`.
        word: The word of a verdict; empty for other cells.
        link: Link to the runs behind a number; empty where there are none.
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
        anchor: Id of the HTML element that lists the runs.
        results: Results of the runs.
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
        anchor: Id of the section's HTML element.
        plan: The experiment.
        table: The experiment's table.
        header: Heads of the columns that are not empty.
        cells: The table's cells, row by row.
        runs: The runs of each row that has any.
        pictures: Name and `data:` URL of each picture.
        classes: Title, header and cells of the table by classes; None where there is none.
    """

    anchor: str
    plan: Plan
    table: Table
    header: list[Cell]
    cells: list[list[Cell]]
    runs: list[RowRuns]
    pictures: list[tuple[str, str]]
    classes: tuple[str, list[str], list[list[str]]] | None

    @property
    def verdicts(self) -> Counter[str]:
        """Number of rows with each verdict, all measures together."""
        verdicts = (
            line.measured(key).verdict for line in self.table.lines for key in self.table.measures
        )
        return Counter(each.word for each in verdicts if each)

    @property
    def claims(self) -> Counter[str]:
        """Number of claims that hold, fail or are undecided."""
        return Counter(claim.word for claim in self.table.claims)


def make_section(plan: Plan) -> Section | None:
    """Return the page's section on an experiment; None if nothing is recorded."""
    results = load_results(plan)
    if not any(results.values()):
        return None
    table = build_table(plan, results, unmatched_results(plan))
    anchor = "-".join(plan.folder.relative_to(plan.results).parts)
    rows = {row.name: row for row in plan.rows}  # a sweep shows some of them
    runs = [
        RowRuns(rows[line.name], f"{anchor}-row-{number}", results[line.name], line.failed)
        for number, line in enumerate(table.lines, start=1)
        if results.get(line.name)
    ]
    links = {each.row.name: f"#{each.anchor}" for each in runs}
    header, texts = used_columns(table)
    columns = {
        name: key for key, names in measure_columns(table.measures).items() for name in names
    }
    return Section(
        anchor=anchor,
        plan=plan,
        table=table,
        header=[Cell(name, _kind(name)) for name in header],
        cells=[
            [
                _cell(name, text, line, columns.get(name), links)
                for name, text in zip(header, row, strict=True)
            ]
            for line, row in zip(table.lines, texts, strict=True)
        ],
        runs=runs,
        pictures=draw_all(plan, table, results, _picture),
        classes=_classes(table),
    )


def _classes(table: Table) -> tuple[str, list[str], list[list[str]]] | None:
    if table.per_class is None:
        return None
    return class_title(table.per_class), *by_class(table.per_class, table)


def _kind(column: str) -> str:
    if column == "network":
        return "name"
    return "verdict" if column.endswith("verdict") else "number"


def _cell(column: str, text: str, line: Line, measure: str | None, links: dict[str, str]) -> Cell:
    kind, text = _kind(column), text.replace("+-", "±")
    if kind == "verdict":
        contrast = line.contrast.verdict if line.contrast else None
        verdict = line.measured(measure).verdict if measure else contrast
        word = verdict.word if verdict else ""
        return Cell(text.removeprefix(word), kind, word)
    is_ours = column.startswith("our ") or column == TRAINING
    has_runs = is_ours and text not in ("", "-")
    return Cell(text, kind, link=links.get(line.name, "") if has_runs else "")


def _picture(name: str, figure: Figure) -> tuple[str, str]:
    return name, _data_url(to_svg(figure, with_fonts=True))


def _data_url(svg: bytes) -> str:
    """Return a picture as a URL, so that its ids do not collide with those of other pictures."""
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
