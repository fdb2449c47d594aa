"""Verdicts: how a row compares with the paper's number, by one rule for every table.

The rule uses the 95 % confidence interval of our expected value minus the paper's:

- `matches`: the whole interval is within `paper.margin` points of zero;
- `better` or `worse`: otherwise, if the interval excludes zero (above it is better for measures
  of which higher is better, below it for errors);
- `undecided`: otherwise, with the number of seeds that would decide;
- `not comparable`: settings other than the precision were changed, or the paper's number is for
  other images.

A true match is therefore called better or worse in at most 5 % of cases, and `matches` needs
evidence: too few seeds give `undecided`. That holds for a number of seeds that is chosen before the
first result; seeds that are added until a row is decided make errors more likely. With five seeds
or more, the spread between runs is the row's own, pooled with the spread that the paper prints for
the row. With fewer, it is pooled over all rows of the table that are tested on the same images,
unless these rows differ in spread.
Where the paper's row fails, or some of our runs do, the majority of our runs decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from resnet_repro.judge import statistics
from resnet_repro.judge.measures import TEST, Measure
from resnet_repro.judge.spread import (
    Spread,
    TableSpread,
    is_own,
    pool,
    printed_spread,
)
from resnet_repro.judge.statistics import Interval, Reference
from resnet_repro.plan import Row
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.text import count

NO_SPREAD = "the spread between runs is unknown; it needs a row with two seeds that differ"


@dataclass(frozen=True)
class Basis:
    """The inputs of a verdict's interval.

    Attributes:
        reference: The paper's estimate of its expected value.
        spread: Spread between runs, with its degrees of freedom.
        source: Origin of the spread: `row` (the row's runs and the spread that the paper prints
            for it) or `table` (the same for all rows that are tested on the same images).
        num_runs: Number of our runs behind our mean.
    """

    reference: Reference
    spread: Spread
    source: str
    num_runs: int

    def power(self, difference: float) -> float:
        """Return the power to detect a real difference of this many points."""
        return statistics.power(difference, self.num_runs, self.reference, self.spread)


@dataclass(frozen=True)
class Verdict:
    """How a number of ours compares with the paper's.

    Attributes:
        word: `matches`, `better`, `worse`, `undecided` or `not comparable`.
        interval: Our expected value minus the paper's, points; None where it cannot be computed.
        why: Reason in words, where the interval is not the reason.
        seeds: Number of seeds that would decide an undecided verdict; None where no number would,
            and for any other verdict.
        basis: Inputs of the interval; None without an interval.
    """

    word: str
    interval: Interval | None = None
    why: str = ""
    seeds: int | None = None
    basis: Basis | None = None


def judge(
    runs: Mapping[str, float],
    num_failed: int,
    paper: PaperValues,
    table: TableSpread,
    margin: float,
    measure: Measure = TEST,
) -> Verdict | None:
    """Compare our runs of a row with what the paper prints.

    Args:
        runs: Values of the measure for the runs that did not fail, as `Outcome.by_run` has them.
        num_failed: Number of runs that failed.
        paper: The row's printed values.
        table: What tells the spread of the table's rows that are tested on the same images.
        margin: Margin of practical equality, points.
        measure: The measure of these values.

    Returns:
        The verdict; None where the paper prints nothing, or no run has ended.
    """
    errors = [*runs.values()]
    if paper.fail or paper.error_above is not None:
        above = paper.error_above
        bad = num_failed + sum(above is not None and error > above for error in errors)
        return _by_count(bad, len(errors) + num_failed)
    reference = statistics.reference(paper, lower_is_better=measure.lower_is_better)
    if reference is None or not (errors or num_failed):
        return None
    if num_failed:
        return _with_failures(num_failed, len(errors) + num_failed)
    spread, source = spread_of(runs, paper, table)
    if spread is None:
        return Verdict("undecided", None, NO_SPREAD)
    basis = Basis(reference, spread, source, len(errors))
    mean = sum(errors) / len(errors)
    interval = statistics.against_paper(mean, len(errors), reference, spread)
    told = interval.told(margin)
    if told != "undecided":
        word = "matches" if told == "same" else measure.better_or_worse(told)
        return Verdict(word, interval, basis=basis)
    seeds = statistics.seeds_to_decide(mean, len(errors), reference, spread, margin)
    why = (
        "" if seeds else "the paper's own number is too uncertain, no number of seeds would decide"
    )
    return Verdict("undecided", interval, why, seeds, basis)


def spread_of(
    runs: Mapping[str, float], paper: PaperValues, table: TableSpread
) -> tuple[Spread | None, str]:
    """Return the spread between a row's runs, and its source: see `Basis`."""
    values = [*runs.values()]
    own = pool([values]) and pool([values], printed_spread(paper))
    return (own, "row") if own and is_own(table, values) else (table.pooled, "table")


def _by_count(num_bad: int, number: int) -> Verdict | None:
    """Judge a row that fails in the paper."""
    if number == 0:
        return None
    word = "better" if num_bad == 0 else "matches" if 2 * num_bad > number else "undecided"
    return Verdict(word, None, f"{num_bad} of {count(number, 'seed')} failed")


def _with_failures(num_failed: int, number: int) -> Verdict:
    """Judge a row with failed runs for which the paper prints a number."""
    word = "worse" if 2 * num_failed > number else "undecided"
    return Verdict(word, None, f"{num_failed} of {count(number, 'seed')} failed")


def why_not_comparable(row: Row) -> str:
    """Return why our number cannot be compared with the paper's; empty where it can."""
    if row.paper.other_images:
        return "the paper's number is for other images"
    return f"{', '.join(row.changed)} changed" if row.changed else ""
