"""Cases of a sweep compared with one of them, the baseline: the settings' shipped values.

The confidence interval of the difference of expected values, a case's minus the baseline's, decides
as against a paper's number: `same` within the margin of practical equality, else `better` or
`worse` where it excludes zero, else `undecided`. A table makes several comparisons. So that all of
its intervals hold together in 95 % of tables, each has a confidence of 1 - 0.05 / their number
(Bonferroni).
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from resnet_repro.judge import statistics
from resnet_repro.judge.measures import Measure, first_measure
from resnet_repro.judge.outcomes import Outcome, spreads
from resnet_repro.judge.spread import Spread, spread_between
from resnet_repro.judge.statistics import CONFIDENCE
from resnet_repro.judge.verdicts import NO_SPREAD, Verdict
from resnet_repro.plan import Plan, Row
from resnet_repro.text import count


@dataclass(frozen=True)
class Contrast:
    """A case of a row compared with the baseline.

    Attributes:
        baseline: The baseline's name.
        verdict: What can be concluded: `same`, `better`, `worse` or `undecided`.
        confidence: The confidence of its interval.
        num_comparisons: Number of comparisons in the table, for which that is corrected.
        num_runs: Number of runs of the case and of the baseline that ended well.
        spread: Spread between runs; None where it is unknown.
    """

    baseline: str
    verdict: Verdict
    confidence: float
    num_comparisons: int
    num_runs: tuple[int, int]
    spread: Spread | None


def baselines(plan: Plan) -> dict[str, Row]:
    """Return the case that the others of a network are compared with; none outside of sweeps.

    That which `baseline=` names, else that with the settings' shipped values, else the first one.

    Returns:
        The cases by the network, as `Row.of` names it; without networks that have no such case.
    """
    if plan.sweep is None:
        return {}
    cases: dict[str, list[Row]] = {}
    for row in plan.rows:
        cases.setdefault(row.network, []).append(row)
    named = plan.sweep.baseline
    found = {}
    for network, each in cases.items():
        if named is None:
            found[network] = next((row for row in each if row.is_at_shipped_point), each[0])
        elif at := [row for row in each if row.point == named]:
            found[network] = at[0]
    return found


def contrasts(
    plan: Plan, outcomes: Mapping[str, Outcome], shown: Container[str]
) -> dict[str, Contrast]:
    """Compare each case that has runs with its baseline, by the table's first measure.

    Args:
        plan: The sweep.
        outcomes: The sorted results of each row.
        shown: The names of the rows that the table has.

    Returns:
        The comparisons by row; none outside of sweeps.
    """
    by_network, measure = baselines(plan), first_measure(plan)
    pairs = [
        (outcomes[row.name], outcomes[base.name])
        for row in plan.rows
        if row.name in shown
        if (base := by_network.get(row.of or "")) is not None and base is not row
        if row.name in outcomes and outcomes[row.name].runs and outcomes[base.name].runs
    ]
    known = spreads(outcomes.values(), measure)
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(pairs))
    found = {}
    for case, other in pairs:
        values, others = case.values(measure), other.values(measure)
        pair = case.by_run(measure), other.by_run(measure)
        spread = spread_between(*pair, known[case.data]) if values and others else None
        found[case.row.name] = Contrast(
            baseline=other.row.name,
            verdict=_judge(case, other, spread, measure, plan.paper.margin, confidence),
            confidence=confidence,
            num_comparisons=len(pairs),
            num_runs=(len(values), len(others)),
            spread=spread,
        )
    return found


def _judge(
    case: Outcome,
    base: Outcome,
    spread: Spread | None,
    measure: Measure,
    margin: float,
    confidence: float,
) -> Verdict:
    if case.data != base.data:
        return Verdict("not comparable", why="tested on other images")
    if case.failed or base.failed:
        return _by_failures(case, base)
    values, others = case.values(measure), base.values(measure)
    if not values or not others:
        return Verdict("undecided", why=f"no {measure.name} is recorded")
    if spread is None:
        return Verdict("undecided", why=NO_SPREAD)
    interval = statistics.between(values, others, spread, confidence)
    told = interval.told(margin)
    if told != "undecided":
        return Verdict("same" if told == "same" else measure.better_or_worse(told), interval)
    number = statistics.seeds_to_tell(values, others, spread, margin, confidence)
    return Verdict("undecided", interval, seeds=number)


def _by_failures(case: Outcome, base: Outcome) -> Verdict:
    """Judge by failed runs: decided where all runs of one failed and none of the other."""
    why = "; ".join(
        f"{each.row.name}: {len(each.failed)} of {count(len(each.runs), 'run')} failed"
        for each in (case, base)
        if each.failed
    )
    if not case.good and not base.failed:
        return Verdict("worse", why=why)
    if not base.good and not case.failed:
        return Verdict("better", why=why)
    return Verdict("undecided", why=why)
