"""Comparison of two results of one experiment, row by row: machines, versions, precisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.judge import statistics
from resnet_repro.judge.claims import spread_between
from resnet_repro.judge.measures import TEST
from resnet_repro.judge.outcomes import Outcome, sort_all
from resnet_repro.judge.statistics import Interval, Spread, aggregate
from resnet_repro.judge.verdicts import NO_SPREAD
from resnet_repro.plan import Plan
from resnet_repro.records.archive import read_archive
from resnet_repro.records.results import assign
from resnet_repro.report.cells import interval_text
from resnet_repro.report.changes import (
    DifferentFact,
    DifferentSetting,
    different_facts,
    different_settings,
    fact_text,
    setting_text,
)
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.text import markdown

Source = tuple[Plan, Path]


@dataclass(frozen=True)
class Side:
    """A row's runs in one of two results.

    Attributes:
        seeds: Seeds of the tested runs that did not fail.
        failed: Seeds of the runs that failed.
        mean: Mean test error of the runs that did not fail, %; None if there are none.
        std: Standard deviation of these runs, points; None for a single run.
    """

    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    mean: float | None
    std: float | None


@dataclass(frozen=True)
class ComparedRow:
    """A row in two results.

    Attributes:
        row: The row's name.
        first: The row's runs in the first result.
        second: The row's runs in the second result.
        difference: Expected error of the second minus the first, points; None where it cannot be
            computed.
        interval: The 95 % confidence interval of the difference.
        verdict: `identical` (all weights are equal), `same`, `higher`, `lower`, `undecided`, or
            `not compared`.
        why: Reason in words, where the interval is not the reason.
        same_weights: Number of runs that ended with the same weights in both results.
    """

    row: str
    first: Side
    second: Side
    difference: float | None
    interval: Interval | None
    verdict: str
    why: str
    same_weights: int


@dataclass(frozen=True)
class Comparison:
    """Two results of one experiment.

    Attributes:
        experiment: The experiment's name.
        first: Folder of the first result.
        second: Folder of the second result.
        margin: Margin of practical equality, points.
        rows: Rows with runs in both results.
        only_in_first: Names of rows with runs in the first result only.
        only_in_second: Names of rows with runs in the second result only.
        settings: Settings that differ.
        environment: Versions, machines and data that differ.
    """

    experiment: str
    first: Path
    second: Path
    margin: float
    rows: tuple[ComparedRow, ...]
    only_in_first: tuple[str, ...]
    only_in_second: tuple[str, ...]
    settings: tuple[DifferentSetting, ...]
    environment: tuple[DifferentFact, ...]


def compare_results(ours: Source, theirs: Source) -> Comparison:
    """Compare two files of records of one experiment.

    Args:
        ours: The experiment with the settings of the first file, and the file.
        theirs: The experiment with the settings of the second file, and the file.
    """
    results = [assign(plan, read_archive(path, plan).results)[0] for plan, path in (ours, theirs)]
    first, second = (
        sort_all(plan, each) for (plan, _), each in zip((ours, theirs), results, strict=True)
    )
    margin, spreads = ours[0].paper.margin, _spreads(first, second)
    return Comparison(
        experiment=ours[0].name,
        first=ours[1].parent,
        second=theirs[1].parent,
        margin=margin,
        rows=tuple(
            _row(first[name], second[name], spreads[first[name].data], margin)
            for name in first
            if first[name].runs and second[name].runs
        ),
        only_in_first=tuple(n for n in first if first[n].runs and not second[n].runs),
        only_in_second=tuple(n for n in first if second[n].runs and not first[n].runs),
        settings=tuple(different_settings(ours[0], theirs[0])),
        environment=tuple(different_facts(*results)),
    )


def _spreads(first: dict[str, Outcome], second: dict[str, Outcome]) -> dict[str, Spread | None]:
    """Return the spread between runs for each set of images, pooled over both tables' rows."""
    groups: dict[str, list[Sequence[float]]] = {each.data: [] for each in first.values()}
    for outcome in [*first.values(), *second.values()]:
        groups.setdefault(outcome.data, []).append(outcome.values(TEST))
    return {data: statistics.pool(each) for data, each in groups.items()}


def _row(ours: Outcome, theirs: Outcome, spread: Spread | None, margin: float) -> ComparedRow:
    weights = [{run.weights for run in side.runs} - {None} for side in (ours, theirs)]
    first, second = ours.values(TEST), theirs.values(TEST)
    difference = interval = None
    verdict, why = "undecided", ""
    if ours.failed or theirs.failed:
        verdict, why = "not compared", "some runs failed"
    elif weights[0] == weights[1] and len(first) == len(second) == len(weights[0]):
        verdict, difference = "identical", 0.0
    elif (known := spread_between(second, first, spread)) is None:
        why = NO_SPREAD
    else:
        interval = statistics.between(second, first, known)
        difference = interval.difference
        if interval.within(margin):
            verdict = "same"
        elif interval.excludes_zero:
            verdict = "higher" if interval.low > 0 else "lower"
    sides = _side(ours), _side(theirs)
    same = len(weights[0] & weights[1])
    return ComparedRow(ours.row.name, *sides, difference, interval, verdict, why, same)


def _side(outcome: Outcome) -> Side:
    errors = outcome.values(TEST)
    cell = aggregate(errors, PaperValues()) if errors else None
    return Side(
        seeds=tuple(run.seed for run in outcome.good),
        failed=tuple(run.seed for run in outcome.failed),
        mean=cell.mean if cell else None,
        std=cell.std if cell else None,
    )


def compare_text(compared: Comparison) -> str:
    """Return a table of the rows, and below it the settings and facts that differ."""
    header = ["row", "first", "second", "second - first", "verdict", "same weights"]
    lines = [_line(row) for row in compared.rows]
    alone = [f"{name}: in the first only" for name in compared.only_in_first]
    alone += [f"{name}: in the second only" for name in compared.only_in_second]
    different = [*map(setting_text, compared.settings), *map(fact_text, compared.environment)]
    parts = [
        f"{compared.experiment}: {compared.first} and {compared.second}",
        markdown(header, lines) if lines else "They have no row in common.",
        "\n".join(alone),
        "\n".join(f"- {each}" for each in different),
        f"Test error in %; number of seeds in parentheses. In brackets: the 95 % confidence "
        f"interval of the difference of expected errors. Verdict: same if the whole interval is "
        f"within {compared.margin:g} points of zero, otherwise higher or lower if it excludes "
        f"zero.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _line(row: ComparedRow) -> list[str]:
    difference = "" if row.difference is None else f"{row.difference:+.2f}"
    if row.interval:
        difference += f" {interval_text(row.interval)}"
    num_runs = len(row.first.seeds) + len(row.first.failed)
    return [
        row.row,
        _side_text(row.first),
        _side_text(row.second),
        difference,
        f"{row.verdict}: {row.why}" if row.why else row.verdict,
        f"{row.same_weights} of {num_runs}",
    ]


def _side_text(side: Side) -> str:
    text = ""
    if side.mean is not None:
        spread = "" if side.std is None else f" ± {side.std:.2f}"
        text = f"{side.mean:.2f}{spread} ({len(side.seeds)})"
    num_runs = len(side.seeds) + len(side.failed)
    failed = f"{len(side.failed)} of {num_runs} fail" if side.failed else ""
    return ", ".join(filter(None, [text, failed]))
