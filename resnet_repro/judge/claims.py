"""Claims: the order of rows that a paper concludes, tested on our own runs.

An order holds where the confidence interval of each difference is above zero. A relative gain of
so many percent holds where the interval of ours (Fieller's, see `statistics.gain`) is above that
number, less what a difference of `paper.margin` points is in percent; it fails where all of the
interval is below. A larger gain than the paper's is one too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

from resnet_repro.judge import statistics
from resnet_repro.judge.measures import MEASURES
from resnet_repro.judge.outcomes import Outcome, spreads
from resnet_repro.judge.spread import Spread, TableSpread, shared_spread, spread_between
from resnet_repro.judge.statistics import CONFIDENCE, Interval
from resnet_repro.judge.verdicts import NO_SPREAD
from resnet_repro.plan import Plan
from resnet_repro.settings.experiment import ClaimConfig
from resnet_repro.strict_json import SPARE
from resnet_repro.text import count


@dataclass(frozen=True)
class Runs:
    """A row's values of one measure.

    Attributes:
        by_run: The measure of each run that did not fail, in % or a response; see `Outcome.by_run`.
        num_failed: Number of runs that failed; a failed run is worse than any value.
        data: Title of the images that the row is tested on; spreads are pooled for each of them.
    """

    by_run: Mapping[str, float]
    num_failed: int
    data: str

    @property
    def values(self) -> tuple[float, ...]:
        """The values alone."""
        return tuple(self.by_run.values())


@dataclass(frozen=True)
class Evidence:
    """A comparison of two rows, the first of which should have the higher value (or the same).

    Attributes:
        higher: Name of the row that should have the higher value.
        lower: Name of the row that should have the lower value.
        num_runs: Number of runs of each row.
        interval: Confidence interval of the first row's mean minus the second's, points; of a gain,
            of the better row's improvement over the other, %. None where it cannot be computed.
        why: Reason where there is no interval: missing or failed runs.
        word: Outcome of the comparison: `holds`, `fails` or `undecided`.
        gain: In words, of a gain: `ResNet-101 over VGG-16`; empty of an order.
    """

    higher: str
    lower: str
    num_runs: tuple[int, int]
    interval: Interval | None
    why: str
    word: str
    gain: str = field(default="", metadata=SPARE)


@dataclass(frozen=True)
class Claim:
    """A conclusion of a paper and its outcome on our runs.

    Attributes:
        text: The claim in words.
        where: Section, table or figure of the paper.
        measure: Key of the measure that the claim is about; see `ClaimConfig`.
        word: `holds` if every comparison holds; `fails` if one fails at a confidence level
            corrected for the number of comparisons; otherwise `undecided`.
        evidence: One comparison for each pair of rows that the claim orders.
    """

    text: str
    where: str
    measure: str
    word: str
    evidence: tuple[Evidence, ...]


def pairs(claim: ClaimConfig, runnable: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of rows that a claim compares, the one with the higher value first."""
    if claim.falling:
        return list(pairwise(claim.falling))
    if claim.rising:
        return [(after, before) for before, after in pairwise(claim.rising)]
    if claim.equal:
        return [(claim.equal[0], claim.equal[1])]
    if claim.gain:
        both = claim.gain.over, claim.gain.of
        return [both if MEASURES[claim.measure].lower_is_better else both[::-1]]
    extreme = claim.lowest or claim.highest
    assert extreme
    others = runnable if claim.others is None else claim.others
    others = [each for each in others if each != extreme]
    return [(each, extreme) if claim.lowest else (extreme, each) for each in others]


def judge_claim(
    claim: ClaimConfig,
    runs: Mapping[str, Runs],
    spreads: Mapping[str, TableSpread],
    margin: float,
) -> Claim:
    """Judge a claim.

    Args:
        claim: The claim.
        runs: The claim's measure for each row that can be run, by the row's name.
        spreads: Spread between runs for each set of images, used for rows with few runs.
        margin: Margin of practical equality in points, for claims of equality.
    """
    both = [
        (a, b)
        for a, b in pairs(claim, list(runs))
        if claim.others is not None or runs[a].data == runs[b].data
    ]
    evidence = tuple(
        _compare(claim, (a, b), runs, spreads[runs[a].data], margin, len(both)) for a, b in both
    )
    words = {each.word for each in evidence}
    word = "fails" if "fails" in words else "holds" if words == {"holds"} else "undecided"
    return Claim(claim.text, claim.where, claim.measure, word, evidence)


def _compare(
    claim: ClaimConfig,
    names: tuple[str, str],
    runs: Mapping[str, Runs],
    table: TableSpread,
    margin: float,
    num_pairs: int,
) -> Evidence:
    first, second = runs[names[0]], runs[names[1]]
    counts = (len(first.values) + first.num_failed, len(second.values) + second.num_failed)

    gain = f"{claim.gain.of} over {claim.gain.over}" if claim.gain else ""

    def evidence(word: str, interval: Interval | None = None, why: str = "") -> Evidence:
        return Evidence(*names, counts, interval, why, word, gain)

    missing = [name for name, number in zip(names, counts, strict=True) if not number]
    if missing:
        return evidence("undecided", why=f"no number of {' and '.join(missing)} yet")
    if first.num_failed or second.num_failed:
        return evidence(*_by_failures(claim, names, first, second))
    spread = (shared_spread if claim.gain else spread_between)(first.by_run, second.by_run, table)
    if spread is None:
        return evidence("undecided", why=NO_SPREAD)
    if claim.gain:
        return evidence(*_by_gain(claim, runs, spread, margin))
    interval = statistics.between(first.values, second.values, spread)
    if claim.equal:
        is_outside = interval.excludes_zero and not _overlaps(interval, margin)
        word = "holds" if interval.within(margin) else "fails" if is_outside else "undecided"
        return evidence(word, interval)
    strict = 1 - (1 - CONFIDENCE) / num_pairs  # Bonferroni: one failed pair refutes the claim
    refuted = statistics.between(first.values, second.values, spread, strict).high < 0
    return evidence("holds" if interval.low > 0 else "fails" if refuted else "undecided", interval)


def _overlaps(interval: Interval, margin: float) -> bool:
    return interval.low < margin and interval.high > -margin


def _by_gain(
    claim: ClaimConfig, runs: Mapping[str, Runs], spread: Spread, margin: float
) -> tuple[str, Interval | None, str]:
    """Judge a relative gain: the outcome, the interval of ours, and why there is none."""
    assert claim.gain
    better, other = runs[claim.gain.of].values, runs[claim.gain.over].values
    found = statistics.gain(better, other, spread)
    if found is None:
        return "undecided", None, f"the mean of {claim.gain.over} cannot be told from zero"
    if MEASURES[claim.measure].lower_is_better:  # a gain is a reduction
        found = Interval(-found.difference, -found.high, -found.low)
    least = max(0.0, claim.gain.percent - 100 * margin / fmean(other))
    word = "holds" if found.low > least else "fails" if found.high < least else "undecided"
    return word, found, ""


def _by_failures(
    claim: ClaimConfig, names: tuple[str, str], first: Runs, second: Runs
) -> tuple[str, None, str]:
    """Compare two rows with failed runs: decided only if all runs of one and none of the other did.

    Returns:
        The outcome, no interval, and the numbers of failed runs in words.
    """
    why = "; ".join(
        f"{each.num_failed} of {count(len(each.values) + each.num_failed, 'run')} of {name} failed"
        for name, each in zip(names, (first, second), strict=True)
        if each.num_failed
    )
    if not MEASURES[claim.measure].lower_is_better:
        first, second = second, first  # the one that should be worse
    if first.num_failed and not first.values and not second.num_failed:
        return "fails" if claim.equal else "holds", None, why
    if second.num_failed and not second.values and not first.num_failed:
        return "fails", None, why
    return "undecided", None, why


def judge_claims(plan: Plan, outcomes: dict[str, Outcome]) -> list[Claim]:
    """Judge the claims that the paper makes about a table."""
    claims = []
    for claim in plan.claims:
        measure = MEASURES[claim.measure]
        runs = {
            name: Runs(each.by_run(measure), len(each.failed), each.data)
            for name, each in outcomes.items()
        }
        known = spreads(outcomes.values(), measure)
        claims.append(judge_claim(claim, runs, known, plan.paper.margin))
    return claims
