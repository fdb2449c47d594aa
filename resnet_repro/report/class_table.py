"""Average precision of each class ([He15] Tables 10 and 11): the paper's, and ours below it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from resnet_repro.judge.measures import MEASURES, Measure, first_measure, per_class
from resnet_repro.judge.outcomes import Outcome
from resnet_repro.plan import Plan
from resnet_repro.settings.experiment import PaperValues

MOST_CLASSES = 20  # of which ours are shown where the paper prints none


@dataclass(frozen=True)
class ClassLine:
    """A row's average precision of each class, %.

    Attributes:
        name: The row's name.
        paper: What the paper prints, by class.
        decimals: Number of decimals of these.
        paper_mean: The mean over the classes that the paper prints.
        ours: Our mean over the seeds that did not fail, by class; None of one without objects.
        our_mean: The mean over the classes of each of these seeds, averaged; None without any.
    """

    name: str
    paper: dict[str, float]
    decimals: int
    paper_mean: float | None
    ours: dict[str, float | None]
    our_mean: float | None


@dataclass(frozen=True)
class ClassTable:
    """A table of average precisions.

    Attributes:
        measure: Key of their measure.
        classes: The classes in the paper's order, then those that only ours have.
        lines: The rows that have any.
    """

    measure: str
    classes: tuple[str, ...]
    lines: tuple[ClassLine, ...]


def class_table(
    plan: Plan, outcomes: Mapping[str, Outcome], names: Sequence[str]
) -> ClassTable | None:
    """Return the table by classes of a table's first measure.

    Args:
        plan: The experiment.
        outcomes: The sorted results of each row.
        names: Names of the table's rows.

    Returns:
        The table; None where the paper prints none and we have none, or more than `MOST_CLASSES`.
    """
    measure = first_measure(plan)
    rows = [row for row in plan.rows if row.name in names]
    lines = [_line(row.name, row.paper, outcomes.get(row.name), measure) for row in rows]
    lines = [line for line in lines if line.paper or line.ours]
    classes = tuple(
        dict.fromkeys(
            [
                *(name for line in lines for name in line.paper),
                *(name for line in lines for name in line.ours),
            ]
        )
    )
    is_printed = any(line.paper for line in lines)
    if not classes or not (is_printed or len(classes) <= MOST_CLASSES):
        return None
    return ClassTable(measure.key, classes, tuple(lines))


def _line(name: str, paper: PaperValues, outcome: Outcome | None, measure: Measure) -> ClassLine:
    each = (
        [per_class(result, outcome.row.protocol, measure) for result in outcome.good]
        if outcome
        else []
    )
    values = outcome.values(measure) if outcome and any(each) else ()
    return ClassLine(
        name=name,
        paper=dict(paper.per_class),
        decimals=paper.decimals,
        paper_mean=measure.printed(paper).error if paper.per_class else None,
        ours={
            name: _mean([of_run.get(name) for of_run in each])
            for name in dict.fromkeys(name for of_run in each for name in of_run)
        },
        our_mean=fmean(values) if values else None,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def class_title(table: ClassTable) -> str:
    """Return `Average precision of each class, with mAP (11 points)`."""
    return f"Average precision of each class in %, and their mean, {MEASURES[table.measure].name}"


def class_texts(table: ClassTable, shortened: Collection[str]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: the paper's line of each network, ours below it.

    Args:
        table: The table.
        shortened: Names of the rows with a shortened schedule, whose numbers are in brackets.
    """
    rows = []
    for line in table.lines:
        if line.paper:
            printed = [line.paper_mean, *(line.paper.get(name) for name in table.classes)]
            rows.append([line.name, "paper", *(_text(each, line.decimals) for each in printed)])
        if line.ours:
            found = [line.our_mean, *(line.ours.get(name) for name in table.classes)]
            texts = [_text(each, 2) for each in found]
            if line.name in shortened:
                texts = [f"({text})" if text else "" for text in texts]
            rows.append([line.name, "ours", *texts])
    return ["network", "from", "mean", *table.classes], rows


def _text(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
