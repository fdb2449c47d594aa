"""The choice of runs for a time budget: those that settle the most of a paper's claims."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_repro.cost.estimates import Estimates, rows_to_estimate
from resnet_repro.cost.missing import MOST_SEEDS, Missing, OpenClaim
from resnet_repro.errors import UserError
from resnet_repro.plan import Plan, Row, Run, with_needs
from resnet_repro.records.runs import run_state
from resnet_repro.text import count, duration


@dataclass(frozen=True)
class Seeds:
    """Runs of a row, and the seconds they take (for runs left out: in addition to the chosen)."""

    row: str
    seeds: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class LeftOutClaim:
    """A claim that stays undecided; `seconds` is None if it needs more seeds than `MOST_SEEDS`."""

    claim: str
    seconds: float | None


@dataclass(frozen=True)
class Budget:
    """How a time budget is spent.

    Attributes:
        seconds: The budget.
        seconds_chosen: Estimated time of the chosen runs.
        runs: Number of chosen runs.
        chosen: The chosen runs of each row.
        expected_to_settle: Claims that the chosen runs are expected to settle.
        left_out_claims: Claims that are not expected to be settled, with the time they would take.
        left_out_runs: Missing runs of each row that are not chosen.
        settled: Number of claims that are already settled.
    """

    seconds: float
    seconds_chosen: float
    runs: int
    chosen: tuple[Seeds, ...]
    expected_to_settle: tuple[str, ...]
    left_out_claims: tuple[LeftOutClaim, ...]
    left_out_runs: tuple[Seeds, ...]
    settled: int


class _Choice:
    """A selection of runs within a time budget.

    Args:
        estimates: Estimates of the runs' times.
        seconds: The budget.
        results: The output root.

    Attributes:
        seconds: The rest of the budget.
        runs: The chosen runs, by id.
        digests: Digests of the chosen runs.
    """

    def __init__(self, estimates: Estimates, seconds: float, results: Path) -> None:
        self._estimates, self.seconds, self._results = estimates, seconds, results
        self.runs: dict[str, Run] = {}
        self.digests: set[str] = set()
        self._tests: set[tuple[str, str]] = set()
        self._rows: dict[str, list[Run]] = {}
        self._seconds_left: dict[str, float] = {}  # by digest; a cache, as files must be read

    def seconds_left(self, run: Run) -> float:
        """Return the seconds that a run still takes."""
        if run.digest not in self._seconds_left:
            self._seconds_left[run.digest] = self._estimates.seconds_left(run)
        return self._seconds_left[run.digest]

    def cost(self, runs: Iterable[Run]) -> float:
        """Return the seconds that runs add; a run that rows or claims share counts once.

        Of rows that differ only in the test, the further ones add their tests.
        """
        digests, tests, total = {*self.digests}, {*self._tests}, 0.0
        for run in self._to_do(runs):
            if run.digest not in digests:
                total += self.seconds_left(run)
            elif run.test not in tests:
                total += self._estimates.seconds_of_test(run)
            digests.add(run.digest)
            tests.add(run.test)
        return total

    def fits(self, runs: Iterable[Run]) -> bool:
        """Return whether the budget suffices for all of these runs."""
        return self.cost(runs) <= self.seconds

    def take(self, runs: Iterable[Run]) -> None:
        """Choose runs, and subtract their time from the budget."""
        wanted = list(runs)
        self.seconds -= self.cost(wanted)
        for run in [*wanted, *self._to_do(wanted)]:
            if run.id not in self.runs:
                self._rows.setdefault(run.row, []).append(run)
            self.runs[run.id] = run
            self.digests.add(run.digest)
            self._tests.add(run.test)

    def _to_do(self, runs: Iterable[Run]) -> list[Run]:
        """Return runs and those needed that are not trained yet, without the chosen ones."""
        wanted = {run.id: run for run in runs}
        return [
            run
            for run in with_needs(wanted.values())
            if run.id not in self.runs and (run.id in wanted or self._is_to_train(run))
        ]

    def _is_to_train(self, run: Run) -> bool:
        return run.digest not in self.digests and not run_state(run, self._results).is_trained

    def of_row(self, row: Row) -> list[Run]:
        """Return the chosen runs of a row."""
        return self._rows.get(row.name, [])


def choose_runs(plan: Plan, seconds: float, estimates: Estimates) -> tuple[Plan, Budget]:
    """Choose among the missing runs of a plan's selected rows.

    The cheapest claim that fits is taken, repeatedly; the costs change, because claims share runs.
    The rest of the budget goes to the rows in their order: a first seed for each row without a
    result, then further seeds.

    Args:
        plan: The experiment.
        seconds: The budget; runs are trained one after the other.
        estimates: Estimates for the plan.

    Returns:
        The plan narrowed to the chosen runs, with all rows of the table; and the chosen runs, the
        claims they are expected to settle, and what was left out.

    Raises:
        UserError: The budget is too short for any run.
    """
    missing, choice = Missing(plan), _Choice(estimates, seconds, plan.results)
    rows = rows_to_estimate(plan)
    names = {row.name for row in rows}
    waiting = [c for c in missing.claims if {run.row for run in c.runs or ()} <= names]
    expected: list[OpenClaim] = []
    while fitting := [claim for claim in waiting if claim.runs and choice.fits(claim.runs)]:
        cheapest = min(fitting, key=lambda claim: choice.cost(claim.runs or ()))
        choice.take(cheapest.runs or ())
        expected.append(cheapest)
        waiting.remove(cheapest)
    lacking = {row.name: missing.of_row(row) for row in rows}
    first = [
        lacking[row.name][:1]
        for row in rows
        if not missing.has_result(row) and not choice.of_row(row)
    ]
    for runs in [*first, *([run] for row in rows for run in lacking[row.name])]:
        if choice.fits(runs):
            choice.take(runs)
    others = [run for runs in lacking.values() for run in runs]
    others += [run for claim in waiting for run in claim.runs or ()]
    if others and not choice.runs:
        least = min(others, key=lambda run: choice.cost([run]))  # with those that it needs
        raise UserError(
            f"budget={duration(seconds)} is too short for any run: the shortest, {least.id}, "
            f"takes about {duration(choice.cost([least]))}"
        )
    left_out = [
        (name, [run for run in runs if run.id not in choice.runs]) for name, runs in lacking.items()
    ]
    counted: set[str] = set()  # a run that several rows test is trained for the first of them

    def seconds_of(runs: list[Run]) -> float:
        new = [run for run in runs if run.digest not in counted]
        counted.update(run.digest for run in new)
        return sum(map(choice.seconds_left, new))

    budget = Budget(
        seconds=seconds,
        seconds_chosen=seconds - choice.seconds,
        runs=len(choice.runs),
        chosen=tuple(
            _seeds(row.name, runs, seconds_of(runs)) for row in rows if (runs := choice.of_row(row))
        ),
        expected_to_settle=tuple(claim.text for claim in expected),
        left_out_claims=tuple(
            LeftOutClaim(claim.text, None if claim.runs is None else choice.cost(claim.runs))
            for claim in waiting
        ),
        left_out_runs=tuple(
            _seeds(name, runs, choice.cost(runs)) for name, runs in left_out if runs
        ),
        settled=missing.num_settled,
    )
    return _narrowed(plan, choice), budget


def _seeds(row: str, runs: list[Run], seconds: float) -> Seeds:
    return Seeds(row, tuple(sorted(run.seed for run in runs)), seconds)


def budget_text(budget: Budget) -> str:
    """Return a budget's chosen runs, claims and left-out runs as text."""
    lines = [
        _chosen(budget),
        *_listed("Expected to settle", budget.expected_to_settle),
        *_listed("Left out, with the additional time it would take", [
            *(f"{each.claim}: {_price(each)}" for each in budget.left_out_claims),
            *(f"{_seeds_text(each)}: {duration(each.seconds)}" for each in budget.left_out_runs),
        ]),
    ]  # fmt: skip
    if budget.settled:
        lines.append(f"Already settled: {count(budget.settled, 'claim')}.")
    return "\n".join(lines)


def _chosen(budget: Budget) -> str:
    if not budget.runs:
        return f"budget={duration(budget.seconds)}: nothing is missing."
    return (
        f"budget={duration(budget.seconds)}: {count(budget.runs, 'run')}, about "
        f"{duration(budget.seconds_chosen)} one after the other: "
        f"{'; '.join(map(_seeds_text, budget.chosen))}."
    )


def _seeds_text(each: Seeds) -> str:
    noun = "seed" if len(each.seeds) == 1 else "seeds"
    return f"{each.row} {noun} {', '.join(map(str, each.seeds))}"


def _price(left_out: LeftOutClaim) -> str:
    if left_out.seconds is None:
        return f"more than {MOST_SEEDS} seeds"
    return duration(left_out.seconds)


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"- {line}" for line in lines]
    return [f"{title}:", *found] if found else []


def _narrowed(plan: Plan, choice: _Choice) -> Plan:
    """Return the plan with the chosen runs only, and ensembles of which all members are there."""
    seeds = {row.name: tuple(sorted(run.seed for run in choice.of_row(row))) for row in plan.rows}
    whole = {
        each.row
        for each in plan.ensembles
        if all(
            m.digest in choice.digests or run_state(m, plan.results).is_trained for m in each.needs
        )
    }
    return replace(
        plan,
        rows=tuple(replace(row, seeds=seeds[row.name] or row.seeds) for row in plan.rows),
        selected=tuple(r.name for r in plan.rows if seeds[r.name] or r.name in whole),
    )


UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def parse_budget(text: str) -> float:
    """Return the seconds of `30s`, `90min`, `8h` or `2d`."""
    match = re.fullmatch(rf"(\d+(?:\.\d+)?) ?({'|'.join(UNITS)})", text.strip())
    if match is None or not float(match[1]):
        raise UserError(f"budget={text}: set a number above 0 with a unit: 30s, 90min, 8h or 2d")
    return float(match[1]) * UNITS[match[2]]
