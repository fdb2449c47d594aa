"""Which runs to spend a given time on: those that settle the most of a paper's claims."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from resnet_repro.errors import UserError
from resnet_repro.plan import Plan, Row, Run
from resnet_repro.report.estimates import Estimates, selected_rows
from resnet_repro.report.missing import MOST_SEEDS, Missing, OpenClaim
from resnet_repro.report.text import count, duration


@dataclass
class _Choice:
    """Runs, as many as there is time for.

    Attributes:
        estimates: Of their time.
        seconds: What is left.
        runs: By id.
    """

    estimates: Estimates
    seconds: float
    runs: dict[str, Run] = field(default_factory=dict)

    def cost(self, runs: Iterable[Run]) -> float:
        """Return the seconds that runs add; what rows or claims share counts once."""
        chosen = {run.digest for run in self.runs.values()}
        more = {run.digest: run for run in runs if run.digest not in chosen}
        return sum(map(self.estimates.seconds_left, more.values()))

    def fits(self, runs: Iterable[Run]) -> bool:
        """Return whether there is time for all of them."""
        return self.cost(runs) <= self.seconds

    def take(self, runs: Iterable[Run]) -> None:
        """Spend the time of runs on them."""
        wanted = list(runs)
        self.seconds -= self.cost(wanted)
        self.runs |= {run.id: run for run in wanted}

    def of_row(self, row: Row) -> list[Run]:
        """Return the row's runs among them."""
        return [run for run in self.runs.values() if run.row == row.name]


def choose_runs(plan: Plan, seconds: float, estimates: Estimates) -> tuple[Plan, str]:
    """Choose among the runs that a plan's selected rows lack.

    The claim that costs least is taken first, then again that which now costs least, while one
    fits: claims share runs. What is left goes to the rows in their order: a first seed to each that
    has no result, then their other seeds.

    Args:
        plan: The experiment.
        seconds: To spend, one run after the other.
        estimates: Of the plan.

    Returns:
        The plan of the chosen runs, all rows of the table still in it; and in words what was
        chosen, what that is expected to settle, and what is left out.

    Raises:
        UserError: No run takes so little.
    """
    missing, choice = Missing(plan), _Choice(estimates, seconds)
    rows = selected_rows(plan)
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
        least = min(others, key=estimates.seconds_left)
        raise UserError(
            f"budget={duration(seconds)} is too little for any run: the cheapest, {least.id}, "
            f"takes about {duration(estimates.seconds_left(least))}"
        )
    left_out = {
        name: [run for run in runs if run.id not in choice.runs] for name, runs in lacking.items()
    }
    lines = [
        _chosen(choice, rows, seconds),
        *_listed("Expected to settle", [claim.text for claim in expected]),
        *_listed("Left out, with the time it would take beside the chosen runs", [
            *(f"{claim.text}: {_price(claim, choice)}" for claim in waiting),
            *(
                f"{_seeds(name, runs)}: {duration(choice.cost(runs))}"
                for name, runs in left_out.items()
                if runs
            ),
        ]),
    ]  # fmt: skip
    if missing.num_settled:
        lines.append(f"Settled already: {count(missing.num_settled, 'claim')}.")
    return _narrowed(plan, choice), "\n".join(lines)


def _chosen(choice: _Choice, rows: list[Row], seconds: float) -> str:
    if not choice.runs:
        return f"budget={duration(seconds)}: nothing is missing."
    each = [_seeds(row.name, runs) for row in rows if (runs := choice.of_row(row))]
    spent = duration(seconds - choice.seconds)
    return (
        f"budget={duration(seconds)}: {count(len(choice.runs), 'run')}, about {spent}: "
        f"{'; '.join(each)}."
    )


def _seeds(row: str, runs: list[Run]) -> str:
    seeds = sorted(run.seed for run in runs)
    return f"{row} {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _price(claim: OpenClaim, choice: _Choice) -> str:
    if claim.runs is None:
        return f"more than {MOST_SEEDS} seeds"
    return duration(choice.cost(claim.runs))


def _listed(title: str, lines: list[str]) -> list[str]:
    return [f"{title}:", *(f"- {line}" for line in lines)] if lines else []


def _narrowed(plan: Plan, choice: _Choice) -> Plan:
    """Return the plan with the chosen runs alone, and ensembles whose members are all there."""
    seeds = {row.name: tuple(sorted(run.seed for run in choice.of_row(row))) for row in plan.rows}
    digests = {run.digest for run in choice.runs.values()}
    whole = {
        each.row
        for each in plan.ensembles
        if all(m.digest in digests or plan.state(m) in ("done", "trained") for m in each.runs)
    }
    return replace(
        plan,
        rows=tuple(replace(row, seeds=seeds[row.name] or row.seeds) for row in plan.rows),
        selected=tuple(r.name for r in plan.rows if seeds[r.name] or r.name in whole),
    )
