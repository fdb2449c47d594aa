"""Several results of one experiment, row by row: of machines, versions, precisions, settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from resnet_repro.judge import statistics
from resnet_repro.judge.measures import TEST, Measure, first_measure
from resnet_repro.judge.outcomes import Outcome, sort_all
from resnet_repro.judge.spread import TableSpread, spread_between
from resnet_repro.judge.statistics import CONFIDENCE, Interval, aggregate
from resnet_repro.judge.verdicts import NO_SPREAD
from resnet_repro.report.changes import (
    DifferentFact,
    DifferentSetting,
    different_facts,
    different_settings,
)
from resnet_repro.report.pairing import Recorded
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.strict_json import SPARE


@dataclass(frozen=True)
class Folder:
    """One of the folders that are compared.

    Attributes:
        name: Its name.
        path: Its file of records of the experiment; None where it has none.
        table: The table that these are of: the experiment, and what was changed of its settings.
    """

    name: str
    path: Path | None
    table: str | None


@dataclass(frozen=True)
class Side:
    """A row's runs in one of the folders, compared with those in the first folder.

    Attributes:
        folder: The folder's name.
        seeds: Seeds of the runs that ended well and were tested.
        failed: Seeds of those that failed.
        mean: Mean value of the table's first measure, %; None without a run that ended well.
        std: Standard deviation of these runs, points; None of one.
        difference: Difference of expected values, this folder minus the first, points; None where
            none is taken.
        interval: Its confidence interval.
        verdict: `identical` (all weights and values are), `same`, `higher`, `lower`, `undecided` or
            `not compared`; None in the first folder, and where one of the two has no runs.
        why: The reason for the verdict, where the interval does not give it.
        same_weights: Number of runs that ended with the same weights in both; None likewise.
    """

    folder: str
    seeds: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    mean: float | None = None
    std: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    verdict: str | None = None
    why: str = ""
    same_weights: int | None = None

    @property
    def num_runs(self) -> int:
        """The number of runs that count."""
        return len(self.seeds) + len(self.failed)


@dataclass(frozen=True)
class ComparedRow:
    """A row in all folders.

    Attributes:
        row: The row's name.
        confidence: The confidence of each of its intervals.
        sides: Its runs, folder by folder.
    """

    row: str
    confidence: float
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class Comparison:
    """An experiment in several folders.

    Attributes:
        experiment: The experiment's name.
        folders: The folders; the others are compared with the first.
        margin: Margin of practical equality, points.
        rows: The rows that have runs in any of the folders.
        settings: The settings that differ.
        environment: The versions, machines and data that differ.
        measure: Key of what is compared: the first measure of the table.
    """

    experiment: str
    folders: tuple[Folder, ...]
    margin: float
    rows: tuple[ComparedRow, ...]
    settings: tuple[DifferentSetting, ...]
    environment: tuple[DifferentFact, ...]
    measure: str = field(default=TEST.key, metadata=SPARE)


def compare_tables(tables: Mapping[str, Recorded | None]) -> Comparison:
    """Compare the results of one experiment in several folders with those in the first.

    Args:
        tables: The table of each folder, by its name; None where it has none.
    """
    present = {name: each for name, each in tables.items() if each}
    plans = {name: each.plan for name, each in present.items()}
    outcomes = {name: sort_all(each.plan, dict(each.results)) for name, each in present.items()}
    first_plan = next(iter(plans.values()))
    measure = first_measure(first_plan)
    spreads = _spreads(outcomes.values(), measure)
    rows = dict.fromkeys(row for each in outcomes.values() for row in each)
    sides = {row: {name: outcomes.get(name, {}).get(row) for name in tables} for row in rows}
    return Comparison(
        experiment=first_plan.name,
        folders=tuple(
            Folder(name, each.path if each else None, each.table if each else None)
            for name, each in tables.items()
        ),
        margin=first_plan.paper.margin,
        rows=tuple(
            _row(row, each, spreads, first_plan.paper.margin, measure)
            for row, each in sides.items()
            if any(outcome and outcome.runs for outcome in each.values())
        ),
        settings=tuple(different_settings(plans)),
        environment=tuple(different_facts({name: each.results for name, each in present.items()})),
        measure=measure.key,
    )


def _spreads(folders: Iterable[Mapping[str, Outcome]], measure: Measure) -> dict[str, TableSpread]:
    """Return the spread between runs that the rows of all folders on the same images share."""
    groups: dict[str, list[Mapping[str, float]]] = {}
    for outcome in (each for outcomes in folders for each in outcomes.values()):
        groups.setdefault(outcome.data, []).append(outcome.by_run(measure))
    return {data: TableSpread(tuple(each)) for data, each in groups.items()}


def _row(
    row: str,
    outcomes: Mapping[str, Outcome | None],
    spreads: Mapping[str, TableSpread],
    margin: float,
    measure: Measure,
) -> ComparedRow:
    first, *others = [each if each and each.runs else None for each in outcomes.values()]
    comparisons = sum(each is not None for each in others) if first else 0
    confidence = 1 - (1 - CONFIDENCE) / max(1, comparisons)  # Bonferroni
    sides = []
    for folder, outcome in zip(outcomes, [first, *others], strict=True):
        side = _side(folder, outcome, measure)
        if first and outcome and folder != next(iter(outcomes)):
            spread = spreads[first.data]
            side = _judge(side, outcome, first, spread, margin, confidence, measure)
        sides.append(side)
    return ComparedRow(row, confidence, tuple(sides))


def _judge(
    side: Side,
    outcome: Outcome,
    first: Outcome,
    spread: TableSpread,
    margin: float,
    confidence: float,
    measure: Measure,
) -> Side:
    """Return a side with its difference from the first folder."""
    weights = [_weights(each) for each in (first, outcome)]
    side = replace(side, same_weights=len(weights[0] & weights[1]))
    theirs, ours = first.values(measure), outcome.values(measure)
    if first.failed or outcome.failed:
        return replace(side, verdict="not compared", why="some failed")
    is_same = weights[0] == weights[1] and len(ours) == len(theirs) == len(weights[0])
    if is_same and sorted(ours) == sorted(theirs):  # they may be tested differently
        return replace(side, verdict="identical", difference=0.0)
    known = spread_between(outcome.by_run(measure), first.by_run(measure), spread)
    if known is None:
        return replace(side, verdict="undecided", why=NO_SPREAD)
    interval = statistics.between(ours, theirs, known, confidence)
    told = interval.told(margin)
    return replace(side, verdict=told, difference=interval.difference, interval=interval)


def _side(folder: str, outcome: Outcome | None, measure: Measure) -> Side:
    if outcome is None:
        return Side(folder)
    values = outcome.values(measure)
    cell = aggregate(values, PaperValues()) if values else None
    return Side(
        folder,
        seeds=tuple(run.seed for run in outcome.good),
        failed=tuple(run.seed for run in outcome.failed),
        mean=cell.mean if cell else None,
        std=cell.std if cell else None,
    )


def _weights(outcome: Outcome) -> set[str]:
    """Return the hashes of the weights of a row's runs; of an ensemble, those of its members."""
    protocol = outcome.row.protocol
    found = [
        run.weights or run.evaluations.get(protocol, {}).get("weights") for run in outcome.runs
    ]
    return {str(each) for each in found if each}
