"""What a paper concludes is an order of rows: judged on our own runs, whatever their errors are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from resnet_repro.judge import statistics
from resnet_repro.judge.measures import MEASURES
from resnet_repro.judge.outcomes import Outcome, spreads
from resnet_repro.judge.statistics import CONFIDENCE, Interval, Spread
from resnet_repro.judge.verdicts import NO_SPREAD
from resnet_repro.plan import Plan
from resnet_repro.settings.experiment import ClaimConfig


@dataclass(frozen=True)
class Runs:
    """A row's runs by one measure.

    Attributes:
        values: Of the runs that ended well, %, or the responses.
        num_failed: Runs that failed: worse than any number.
        data: On which images; the spread of one set says nothing of another's.
    """

    values: tuple[float, ...]
    num_failed: int
    data: str


@dataclass(frozen=True)
class Evidence:
    """Two rows, the first of which is to have the higher error (or the same).

    Attributes:
        higher: Name of a row.
        lower: Name of the other.
        num_runs: Of each.
        interval: Of the difference, the first less the second; None where there is none to give.
        why: What is missing, or which failed.
        word: `holds`, `fails` or `undecided`.
    """

    higher: str
    lower: str
    num_runs: tuple[int, int]
    interval: Interval | None
    why: str
    word: str


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, judged.

    Attributes:
        text: In words.
        where: In the paper.
        measure: Of what: see `ClaimConfig`.
        word: `holds` when each piece of evidence does; `fails` when one fails, at a level of
            confidence that makes up for there being several; else `undecided`.
        evidence: One for each two rows that it orders.
    """

    text: str
    where: str
    measure: str
    word: str
    evidence: tuple[Evidence, ...]


def pairs(claim: ClaimConfig, runnable: Sequence[str]) -> list[tuple[str, str]]:
    """Return the two rows of each comparison that a claim makes, the higher error first."""
    if claim.falling:
        return list(pairwise(claim.falling))
    if claim.equal:
        return [(claim.equal[0], claim.equal[1])]
    assert claim.lowest
    others = runnable if claim.others is None else claim.others
    return [(name, claim.lowest) for name in others if name != claim.lowest]


def judge_claim(
    claim: ClaimConfig,
    runs: Mapping[str, Runs],
    spreads: Mapping[str, Spread | None],
    margin: float,
) -> Claim:
    """Judge a claim.

    Args:
        claim: What is claimed.
        runs: By its measure, of each row that is run.
        spreads: Between runs by that measure, of each set of images; taken where a row has few.
        margin: Of practical equality, for claims of equality, points.
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
    table_spread: Spread | None,
    margin: float,
    num_pairs: int,
) -> Evidence:
    first, second = runs[names[0]], runs[names[1]]
    counts = (len(first.values) + first.num_failed, len(second.values) + second.num_failed)

    def evidence(word: str, interval: Interval | None = None, why: str = "") -> Evidence:
        return Evidence(*names, counts, interval, why, word)

    missing = [name for name, number in zip(names, counts, strict=True) if not number]
    if missing:
        return evidence("undecided", why=f"no run of {' and '.join(missing)} yet")
    if first.num_failed or second.num_failed:
        return evidence(*_by_failures(claim, names, first, second))
    spread = spread_between(first.values, second.values, table_spread)
    if spread is None:
        return evidence("undecided", why=NO_SPREAD)
    interval = statistics.between(first.values, second.values, spread)
    if claim.equal:
        apart = interval.excludes_zero and not _overlaps(interval, margin)
        word = "holds" if interval.within(margin) else "fails" if apart else "undecided"
        return evidence(word, interval)
    strict = 1 - (1 - CONFIDENCE) / num_pairs  # several chances to cry wolf
    refuted = statistics.between(first.values, second.values, spread, strict).high < 0
    return evidence("holds" if interval.low > 0 else "fails" if refuted else "undecided", interval)


def _overlaps(interval: Interval, margin: float) -> bool:
    return interval.low < margin and interval.high > -margin


def _by_failures(
    claim: ClaimConfig, names: tuple[str, str], first: Runs, second: Runs
) -> tuple[str, None, str]:
    """Compare rows of which runs failed: all of one against none of the other is an answer."""
    why = "; ".join(
        f"{each.num_failed} of {len(each.values) + each.num_failed} of {name} failed"
        for name, each in zip(names, (first, second), strict=True)
        if each.num_failed
    )
    if first.num_failed and not first.values and not second.num_failed:
        return "fails" if claim.equal else "holds", None, why
    if second.num_failed and not second.values and not first.num_failed:
        return "fails", None, why
    return "undecided", None, why


def spread_between(
    ours: Sequence[float], theirs: Sequence[float], table_spread: Spread | None
) -> Spread | None:
    """Return the spread of two groups' runs: their own from enough seeds on, else the table's."""
    if min(len(ours), len(theirs)) >= statistics.ENOUGH:
        return statistics.pool([ours, theirs])
    return table_spread or statistics.pool([ours, theirs])


def judge_claims(plan: Plan, outcomes: dict[str, Outcome]) -> list[Claim]:
    """Judge what the paper concludes from a table, on the outcomes of its rows."""
    claims = []
    for claim in plan.claims:
        measure = MEASURES[claim.measure]
        runs = {
            name: Runs(each.values(measure), len(each.failed), each.data)
            for name, each in outcomes.items()
        }
        known = spreads(outcomes.values(), measure)
        claims.append(judge_claim(claim, runs, known, plan.paper.margin))
    return claims
