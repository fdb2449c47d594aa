"""From the errors of several seeds to what a paper prints, and to what may be said of it.

The model: a run's error is normal around the network's expected error, with the run-to-run spread
sigma. What a paper prints is a statistic of its own runs, which are drawn alike: their spread is
taken to be ours, unless the paper prints one, which then counts beside it.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special

from resnet_repro.settings.experiment import PaperValues

CONFIDENCE = 0.95
ENOUGH = 5  # seeds from which a row's own spread is taken in place of the table's
MOST_SEEDS = 100  # more are not asked for


@dataclass(frozen=True)
class Cell:
    """A row's test error over its seeds, %.

    Attributes:
        num_runs: Runs behind it that did not fail.
        mean: Of them.
        std: Of them, with n - 1; None for one run.
        value: By the paper's statistic, when there are as many runs as it takes; else None.
        difference: Ours less the paper's, comparing like with like; None where nothing compares.
        compared: What `difference` is between, where that is not simply the two numbers printed.
    """

    num_runs: int
    mean: float
    std: float | None
    value: float | None
    difference: float | None
    compared: str


@dataclass(frozen=True)
class Spread:
    """An estimate of the standard deviation between runs, points, and its degrees of freedom."""

    std: float
    dof: int


@dataclass(frozen=True)
class Interval:
    """A difference of expected errors in points, and its 95 % confidence interval."""

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the two differ."""
        return self.low > 0 or self.high < 0

    def within(self, margin: float) -> bool:
        """Return whether the two are equal for all practical purposes."""
        return -margin < self.low and self.high < margin


@dataclass(frozen=True)
class Reference:
    """What is known of a paper's expected error: `value - bias * sigma`, uncertain by `noise`.

    Attributes:
        value: The number printed, %.
        bias: Expected value of the statistic, in sigmas around the expected error: a best is low.
        noise: Its variance, in squared sigmas.
    """

    value: float
    bias: float
    noise: float


def aggregate(errors: Sequence[float], paper: PaperValues) -> Cell:
    """Aggregate as the paper does, and compare with what it prints.

    A best or a median is compared with the paper's once there are as many runs as behind the
    paper's (the first so many seeds, where there are more). With fewer, our mean is compared with
    the paper's mean, never with its best: a best of five is low because there were five. A run that
    failed is worse than any other: it counts in a best and a median, and leaves no mean to compare.

    Args:
        errors: Test errors in the order of the seeds, %, infinite of a run that failed; at least
            one is not.
        paper: The row's printed values.
    """
    good = [error for error in errors if math.isfinite(error)]
    mean = statistics.fmean(good)
    std = statistics.stdev(good) if len(good) > 1 else None
    kind, wanted = paper.statistic.split("_of_")[0], paper.num_runs
    enough = len(errors) >= wanted
    value = _by_statistic(kind, errors[:wanted]) if enough and kind != "single" else None
    if value is not None and not math.isfinite(value):
        value = None
    if value is not None and paper.error is not None:
        ours, theirs, compared = value, paper.error, paper.statistic.replace("_", " ")
    elif len(good) < len(errors):
        return Cell(len(good), mean, std, value, None, "")
    elif paper.mean is not None:
        ours, theirs, compared = mean, paper.mean, "mean"
    elif paper.error is not None and kind != "best":
        ours, theirs, compared = mean, paper.error, "" if kind == "single" else "mean"
    else:
        return Cell(len(good), mean, std, value, None, "")
    return Cell(len(good), mean, std, value, ours - theirs, compared)


def _by_statistic(kind: str, errors: Sequence[float]) -> float:
    if kind == "best":
        return min(errors)
    return statistics.median(errors) if kind == "median" else statistics.fmean(errors)


def reference(paper: PaperValues) -> Reference | None:
    """Return what a row's printed values say of the expected error; None where they say nothing.

    A printed mean is taken before a best or a median of the same runs.
    """
    kind, number = paper.statistic.split("_of_")[0], paper.num_runs
    if paper.mean is not None:
        return Reference(paper.mean, 0.0, 1 / number)
    if paper.error is None or (kind == "best" and number == 1):  # a best of nobody knows how many
        return None
    if kind in ("single", "mean"):
        return Reference(paper.error, 0.0, 1 / number)
    rank = 1 if kind == "best" else (number + 1) // 2
    return Reference(paper.error, *order_statistic(rank, number))


@cache
def order_statistic(rank: int, number: int) -> tuple[float, float]:
    """Return mean and variance of the `rank`-th smallest of `number` draws of a unit normal."""
    from scipy import stats  # slow to import, and seldom needed

    uniform = stats.beta(rank, number + 1 - rank)  # of the uniform draws below them
    mean = float(uniform.expect(stats.norm.ppf))
    return mean, float(uniform.expect(lambda u: stats.norm.ppf(u) ** 2)) - mean**2


def pool(groups: Iterable[Sequence[float]], printed: Iterable[Spread] = ()) -> Spread | None:
    """Return the spread that groups of runs have in common; None where nothing tells it.

    Args:
        groups: The errors of one row each; those of a single run tell nothing.
        printed: Spreads that the paper prints.
    """
    known = [Spread(statistics.stdev(each), len(each) - 1) for each in groups if len(each) > 1]
    known += printed
    dof = sum(each.dof for each in known)
    square = sum(each.dof * each.std**2 for each in known)
    return Spread(math.sqrt(square / dof), dof) if square else None


def printed_spread(paper: PaperValues) -> list[Spread]:
    """Return the spread between the paper's runs of a row, where it prints one."""
    if paper.std is None or paper.num_runs < 2:
        return []
    return [Spread(paper.std, paper.num_runs - 1)]


def against_paper(mean: float, num_runs: int, paper: Reference, spread: Spread) -> Interval:
    """Return our expected error less the paper's: Student's t, the paper's runs drawn like ours.

    Args:
        mean: Of our runs' errors, %.
        num_runs: Ours.
        paper: What the paper's number says.
        spread: Between runs.
    """
    # The correction of a best by `bias` sigmas is itself as uncertain as sigma is.
    correction = paper.bias**2 / (2 * spread.dof)
    error = spread.std * math.sqrt(1 / num_runs + paper.noise + correction)
    return _interval(mean - (paper.value - paper.bias * spread.std), error, spread.dof)


def between(
    ours: Sequence[float], theirs: Sequence[float], spread: Spread, confidence: float = CONFIDENCE
) -> Interval:
    """Return the expected error of one group of runs less that of another: Student's t."""
    error = spread.std * math.sqrt(1 / len(ours) + 1 / len(theirs))
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    return _interval(difference, error, spread.dof, confidence)


def reach_of_mean(num_runs: int, spread: Spread) -> float:
    """Return how far the 95 % confidence interval of a mean of runs reaches either way, points."""
    error = spread.std / math.sqrt(num_runs)
    return float(special.stdtrit(spread.dof, (1 + CONFIDENCE) / 2)) * error


def _interval(
    difference: float, error: float, dof: int, confidence: float = CONFIDENCE
) -> Interval:
    half = float(special.stdtrit(dof, (1 + confidence) / 2)) * error
    return Interval(difference, difference - half, difference + half)


def seeds_to_decide(
    mean: float, num_runs: int, paper: Reference, spread: Spread, margin: float
) -> int | None:
    """Return with how many seeds the interval would decide, if mean and spread stay as they are.

    Returns:
        None where more seeds of ours do not: the paper's own number is too uncertain.
    """
    numbers = np.arange(num_runs + 1, MOST_SEEDS + 1)
    dof = spread.dof + numbers - num_runs
    error = spread.std * np.sqrt(1 / numbers + paper.noise + paper.bias**2 / (2 * dof))
    half = special.stdtrit(dof, (1 + CONFIDENCE) / 2) * error
    difference = abs(mean - (paper.value - paper.bias * spread.std))
    decided = numbers[(difference > half) | (difference + half < margin)]
    return int(decided[0]) if len(decided) else None


def power(difference: float, num_runs: int, paper: Reference, spread: Spread) -> float:
    """Return how probable it is that a real difference, in points, is told from none."""
    from scipy import stats  # slow to import, and seldom needed

    correction = paper.bias**2 / (2 * spread.dof)
    error = spread.std * math.sqrt(1 / num_runs + paper.noise + correction)
    limit, shift = special.stdtrit(spread.dof, (1 + CONFIDENCE) / 2), difference / error
    told = float(stats.nct.sf(limit, spread.dof, shift) + stats.nct.cdf(-limit, spread.dof, shift))
    return 1.0 if math.isnan(told) else told  # SciPy gives up where the shift is very large
