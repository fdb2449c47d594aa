"""What may be said of a row beside the paper's number: one rule for every table.

The 95 % confidence interval of the difference of expected errors, ours less the paper's, decides:

- `matches`: it lies within the margin of practical equality, `paper.margin` points either way;
- `better` or `worse`: else, it lies below or above zero;
- `undecided`: else; with the number of seeds that would decide;
- `not comparable`: what was done is not what the paper did.

So a true match is called better or worse in at most one case of twenty, and `matches` takes
evidence, not the lack of it. The spread between runs is the row's own from five seeds on, ours and
the one the paper prints of it together; with fewer, that of all rows of the table on the same
images. Where the paper's row fails, or runs of ours do, the majority of our runs decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_repro.judge import statistics
from resnet_repro.judge.measures import TEST, Measure
from resnet_repro.judge.statistics import Interval, Reference, Spread
from resnet_repro.plan import Row
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.text import count

NO_SPREAD = "no spread between seeds is known; two seeds tell one"


@dataclass(frozen=True)
class Basis:
    """From what a verdict's interval was made.

    Attributes:
        reference: What the paper's number says of its expected error.
        spread: Between runs, with its degrees of freedom.
        source: Where the spread comes from: `row` (its own runs, and what the paper prints of
            them) or `table` (all rows on the same images, and what the paper prints of those).
        num_runs: Runs of ours behind our mean.
    """

    reference: Reference
    spread: Spread
    source: str
    num_runs: int

    def power(self, difference: float) -> float:
        """Return how probable it is that a real difference, in points, is told from none."""
        return statistics.power(difference, self.num_runs, self.reference, self.spread)


@dataclass(frozen=True)
class Verdict:
    """What may be said of a cell.

    Attributes:
        word: `matches`, `better`, `worse`, `undecided` or `not comparable`.
        interval: Ours less the paper's, points; None where there is none to give.
        why: In words, where the interval does not say it.
        seeds: With how many it would be decided; None where it is, or where no number decides.
        basis: From what the interval was made; None where there is none.
    """

    word: str
    interval: Interval | None = None
    why: str = ""
    seeds: int | None = None
    basis: Basis | None = None


def judge(
    errors: Sequence[float],
    num_failed: int,
    paper: PaperValues,
    table_spread: Spread | None,
    margin: float,
    measure: Measure = TEST,
) -> Verdict | None:
    """Judge our runs of a row by what the paper prints.

    Args:
        errors: Of the runs that did not fail, by the measure.
        num_failed: Runs that failed.
        paper: The row's printed values.
        table_spread: Between runs of the table's rows on the same images.
        margin: Of practical equality, points.
        measure: What the numbers are.

    Returns:
        None where the paper prints nothing, or nothing has ended.
    """
    if paper.fail or paper.error_above is not None:
        above = paper.error_above
        bad = num_failed + sum(above is not None and error > above for error in errors)
        return _by_count(bad, len(errors) + num_failed)
    reference = statistics.reference(paper)
    if reference is None or not (errors or num_failed):
        return None
    if num_failed:
        return _with_failures(num_failed, len(errors) + num_failed)
    spread, source = spread_of(errors, paper, table_spread)
    if spread is None:
        return Verdict("undecided", None, NO_SPREAD)
    basis = Basis(reference, spread, source, len(errors))
    mean = sum(errors) / len(errors)
    interval = statistics.against_paper(mean, len(errors), reference, spread)
    if interval.within(margin):
        return Verdict("matches", interval, basis=basis)
    if interval.excludes_zero:
        is_better = (interval.high < 0) == measure.lower_is_better
        return Verdict("better" if is_better else "worse", interval, basis=basis)
    seeds = statistics.seeds_to_decide(mean, len(errors), reference, spread, margin)
    why = "" if seeds else "the paper's own number is too uncertain for any number of seeds"
    return Verdict("undecided", interval, why, seeds, basis)


def spread_of(
    errors: Sequence[float], paper: PaperValues, table_spread: Spread | None
) -> tuple[Spread | None, str]:
    """Return the spread between a row's runs, and its source: see `Basis`."""
    if len(errors) >= statistics.ENOUGH:
        return statistics.pool([errors], statistics.printed_spread(paper)), "row"
    return table_spread, "table"


def _by_count(num_bad: int, number: int) -> Verdict | None:
    """Judge a row of which the paper says that it fails."""
    if number == 0:
        return None
    word = "better" if num_bad == 0 else "matches" if 2 * num_bad > number else "undecided"
    return Verdict(word, None, f"{num_bad} of {count(number, 'seed')} failed")


def _with_failures(num_failed: int, number: int) -> Verdict:
    """Judge a row of which the paper prints a number, and some runs failed."""
    word = "worse" if 2 * num_failed > number else "undecided"
    return Verdict(word, None, f"{num_failed} of {count(number, 'seed')} failed")


def why_not_comparable(row: Row) -> str:
    """Return why our number is not to be set against the paper's; empty where it is."""
    if row.paper.other_images:
        return "the paper's number is on other images"
    return f"{', '.join(row.changed)} changed" if row.changed else ""
