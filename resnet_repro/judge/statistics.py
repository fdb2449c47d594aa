"""Statistics of a measure over several seeds, and their comparison with a paper's statistic.

The measure is an error, or one of which higher is better. The model: the values of a network's runs
are normal around its expected value, with standard deviation sigma. A paper prints a statistic of
its own runs, which are assumed to follow the same distribution. Sigma is estimated from our runs,
and from the paper's where it prints their spread.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy import special

from resnet_repro.judge.spread import Spread
from resnet_repro.settings.experiment import PaperValues

CONFIDENCE = 0.95
MAX_SEEDS = 100  # the most that `seeds_to_decide` suggests


@dataclass(frozen=True)
class Aggregate:
    """A row's value of a measure over its seeds, %.

    Attributes:
        num_runs: Number of runs that did not fail.
        mean: Mean value of these runs.
        std: Sample standard deviation of these runs (n - 1); None for a single run.
        value: The paper's best or median, of our runs; None with fewer runs than the paper's.
        difference: Our value minus the paper's, of the same statistic; None where the paper has
            nothing comparable.
        compared: Name of the statistic that `difference` compares; empty for single values.
    """

    num_runs: int
    mean: float
    std: float | None
    value: float | None
    difference: float | None
    compared: str


@dataclass(frozen=True)
class Interval:
    """A difference of expected values in points, or a gain in %, and its confidence interval."""

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether both bounds are on the same side of zero."""
        return self.low > 0 or self.high < 0

    def within(self, margin: float) -> bool:
        """Return whether the whole interval is within `margin` points of zero."""
        return -margin < self.low and self.high < margin

    def told(self, margin: float) -> Literal["same", "higher", "lower", "undecided"]:
        """Return how the first value compares with the other: same if within `margin` points."""
        if self.within(margin):
            return "same"
        if self.excludes_zero:
            return "higher" if self.low > 0 else "lower"
        return "undecided"


@dataclass(frozen=True)
class Reference:
    """An estimate of the paper's expected value: `value - bias * sigma`.

    Attributes:
        value: The printed number, %.
        bias: Expected value of the statistic minus that of a run, in units of sigma; negative for
            the lowest of several runs.
        noise: Variance of the statistic, in units of sigma squared.
    """

    value: float
    bias: float
    noise: float


def aggregate(
    errors: Sequence[float], paper: PaperValues, *, lower_is_better: bool = True
) -> Aggregate:
    """Aggregate our values with the paper's statistic and compare the result with the paper's.

    Our best or median is compared with the paper's once we have as many runs as the paper (with
    more, the first seeds are used). With fewer runs our mean is compared with the paper's mean,
    never with its best, because the best of five is biased. A failed run counts as the worst
    in a best and a median; with one, there is no mean to compare.

    Args:
        errors: Values in the order of the seeds, %; infinitely bad for a failed run. At least one
            must be finite.
        paper: The row's printed values.
        lower_is_better: Which of several values is the best.
    """
    good = [error for error in errors if math.isfinite(error)]
    mean = statistics.fmean(good)
    std = statistics.stdev(good) if len(good) > 1 else None
    kind, wanted = paper.statistic.split("_of_")[0], paper.num_runs
    value = None
    if wanted > 1 and len(errors) >= wanted and kind in ("best", "median"):
        best = min if lower_is_better else max
        found = (best if kind == "best" else statistics.median)(errors[:wanted])
        value = found if math.isfinite(found) else None
    if value is not None and paper.error is not None:
        ours, theirs, compared = value, paper.error, paper.statistic.replace("_", " ")
    elif len(good) < len(errors):
        return Aggregate(len(good), mean, std, value, None, "")
    elif paper.mean is not None:
        ours, theirs, compared = mean, paper.mean, "mean"
    elif paper.error is not None and kind != "best":
        ours, theirs, compared = mean, paper.error, "mean" if kind == "median" else ""
    else:
        return Aggregate(len(good), mean, std, value, None, "")
    return Aggregate(len(good), mean, std, value, ours - theirs, compared)


def reference(paper: PaperValues, *, lower_is_better: bool = True) -> Reference | None:
    """Return the paper's estimate of a row's expected value; None where it prints none.

    A printed mean is preferred to a best or a median of the same runs.
    """
    kind, number = paper.statistic.split("_of_")[0], paper.num_runs
    if paper.mean is not None:
        return Reference(paper.mean, 0.0, 1 / number)
    if paper.error is None or (kind == "best" and number == 1):  # best of an unknown number
        return None
    if kind in ("single", "mean"):
        return Reference(paper.error, 0.0, 1 / number)
    best = 1 if lower_is_better else number
    rank = best if kind == "best" else (number + 1) // 2
    return Reference(paper.error, *order_statistic(rank, number))


@cache
def order_statistic(rank: int, number: int) -> tuple[float, float]:
    """Return mean and variance of the `rank`-th smallest of `number` standard normal draws."""
    from scipy import stats  # slow to import, and seldom needed

    uniform = stats.beta(rank, number + 1 - rank)  # the same order statistic of uniform draws
    mean = float(uniform.expect(stats.norm.ppf))
    return mean, float(uniform.expect(lambda u: stats.norm.ppf(u) ** 2)) - mean**2


def against_paper(mean: float, num_runs: int, paper: Reference, spread: Spread) -> Interval:
    """Return the interval of our expected value minus the paper's (Student's t).

    Args:
        mean: Mean value of our runs, %.
        num_runs: Number of our runs.
        paper: The paper's estimate of its expected value.
        spread: Spread between runs, assumed to be the same for the paper's runs.
    """
    # Sigma is an estimate, which makes the correction by `bias` sigmas uncertain too.
    correction = paper.bias**2 / (2 * spread.dof)
    error = spread.std * math.sqrt(1 / num_runs + paper.noise + correction)
    return _interval(mean - (paper.value - paper.bias * spread.std), error, spread.dof)


def between(
    ours: Sequence[float], theirs: Sequence[float], spread: Spread, confidence: float = CONFIDENCE
) -> Interval:
    """Return the interval of one group's expected value minus another's (Student's t)."""
    error = spread.std * math.sqrt(1 / len(ours) + 1 / len(theirs))
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    return _interval(difference, error, spread.dof, confidence)


def gain(ours: Sequence[float], theirs: Sequence[float], spread: Spread) -> Interval | None:
    """Return the interval of one group's expected value relative to another's, % above it.

    By Fieller's theorem, which is exact for the ratio of two normal means, unlike the delta method:
    it holds all ratios r for which `mean(ours) - r mean(theirs)` is no further from zero than
    Student's t allows.

    Args:
        ours: The values of one group.
        theirs: The values of the other, which are 100 %.
        spread: Spread between runs of either, the same for both.

    Returns:
        The interval; None where it is unbounded, as `theirs` cannot be told from zero.
    """
    base, ratio = statistics.fmean(theirs), statistics.fmean(ours) / (statistics.fmean(theirs) or 1)
    limit = float(special.stdtrit(spread.dof, (1 + CONFIDENCE) / 2)) * spread.std
    g = limit**2 / len(theirs) / base**2 if base else 1.0
    if g >= 1:
        return None
    half = limit / abs(base) * math.sqrt((1 - g) / len(ours) + ratio**2 / len(theirs))
    low, high = ((ratio + sign * half) / (1 - g) for sign in (-1, 1))
    return Interval(*(100 * (each - 1) for each in (ratio, low, high)))


def half_width_of_mean(num_runs: int, spread: Spread) -> float:
    """Return half the width of the 95 % confidence interval of a mean of runs, points."""
    error = spread.std / math.sqrt(num_runs)
    return float(special.stdtrit(spread.dof, (1 + CONFIDENCE) / 2)) * error


def _interval(
    difference: float, error: float, dof: float, confidence: float = CONFIDENCE
) -> Interval:
    half = float(special.stdtrit(dof, (1 + confidence) / 2)) * error
    return Interval(difference, difference - half, difference + half)


def seeds_to_decide(
    mean: float, num_runs: int, paper: Reference, spread: Spread, margin: float
) -> int | None:
    """Return how many seeds would decide the verdict, if mean and spread stay as they are.

    Returns:
        The number of seeds; None where up to `MAX_SEEDS` do not decide it, because the paper's own
        number is too uncertain.
    """
    numbers = np.arange(num_runs + 1, MAX_SEEDS + 1)
    dof = spread.dof + numbers - num_runs
    error = spread.std * np.sqrt(1 / numbers + paper.noise + paper.bias**2 / (2 * dof))
    half = special.stdtrit(dof, (1 + CONFIDENCE) / 2) * error
    difference = abs(mean - (paper.value - paper.bias * spread.std))
    decided = numbers[(difference > half) | (difference + half < margin)]
    return int(decided[0]) if len(decided) else None


def seeds_to_tell(
    ours: Sequence[float],
    theirs: Sequence[float],
    spread: Spread,
    margin: float,
    confidence: float = CONFIDENCE,
) -> int | None:
    """Return how many seeds of each of two groups would decide how they differ.

    Args:
        ours: The values of one group.
        theirs: The values of the other.
        spread: Spread between runs, assumed to stay as it is.
        margin: Margin of practical equality, points.
        confidence: The interval's.

    Returns:
        The number of seeds; None where `MAX_SEEDS` do not decide it.
    """
    numbers = np.arange(max(2, min(len(ours), len(theirs)) + 1), MAX_SEEDS + 1)
    first, second = (np.maximum(numbers, len(each)) for each in (ours, theirs))
    added = first - len(ours) if spread.paired else first + second - len(ours) - len(theirs)
    error = spread.std * np.sqrt(1 / first + 1 / second)
    half = special.stdtrit(spread.dof + added, (1 + confidence) / 2) * error
    difference = abs(statistics.fmean(ours) - statistics.fmean(theirs))
    decided = numbers[(difference > half) | (difference + half < margin)]
    return int(decided[0]) if len(decided) else None


def power(difference: float, num_runs: int, paper: Reference, spread: Spread) -> float:
    """Return the power to detect a real difference of this many points."""
    from scipy import stats  # slow to import, and seldom needed

    correction = paper.bias**2 / (2 * spread.dof)
    error = spread.std * math.sqrt(1 / num_runs + paper.noise + correction)
    limit, shift = special.stdtrit(spread.dof, (1 + CONFIDENCE) / 2), difference / error
    above, below = stats.nct.sf(limit, spread.dof, shift), stats.nct.cdf(-limit, spread.dof, shift)
    detected = float(above + below)
    return 1.0 if math.isnan(detected) else detected  # SciPy returns NaN for a very large shift
