"""The runs that a table lacks, for its rows and to settle the paper's claims.

The number of seeds that settles a claim is estimated from the paper: as many as make half the width
of a difference's 95 % interval smaller than the difference that the paper prints.
"""

from dataclasses import dataclass

from resnet_repro.judge import statistics
from resnet_repro.judge.claims import Evidence, judge_claims
from resnet_repro.judge.measures import MEASURES
from resnet_repro.judge.outcomes import sort_all, spreads
from resnet_repro.judge.spread import ENOUGH_SEEDS, Spread
from resnet_repro.plan import Plan, Row, Run
from resnet_repro.records.results import load_results
from resnet_repro.records.runs import run_state
from resnet_repro.settings.experiment import ClaimConfig, PaperValues

MOST_SEEDS = 10  # claims that need more seeds are left out
DEFAULT_SEEDS = 3  # used where the paper prints no difference
# Spread between runs in points that is assumed where neither our runs nor the paper give one.
# [He15] Table 6 prints 0.16 for ResNet-110.
ASSUMED_SPREAD = Spread(0.2, 0)


@dataclass(frozen=True)
class OpenClaim:
    """A claim that is not settled.

    Attributes:
        text: The claim in words, with its place in the paper.
        runs: Runs that are expected to settle it; None if it needs more than `MOST_SEEDS`.
    """

    text: str
    runs: tuple[Run, ...] | None


class Missing:
    """The missing runs of a plan's table.

    Args:
        plan: The experiment.

    Attributes:
        claims: Claims that are not settled.
        num_settled: Number of claims that are settled.
    """

    def __init__(self, plan: Plan) -> None:
        results = load_results(plan)
        self._plan, self._outcomes = plan, sort_all(plan, results)
        self._rows = {row.name: row for row in plan.rows}
        judged = judge_claims(plan, self._outcomes)
        both = zip(plan.claims, judged, strict=True)
        undecided = [(config, claim) for config, claim in both if claim.word == "undecided"]
        self.num_settled = len(judged) - len(undecided)
        self.claims: list[OpenClaim] = []
        for config, claim in undecided:
            pairs = [pair for pair in claim.evidence if pair.word == "undecided"]
            where = f" ({config.where})" if config.where else ""
            self.claims.append(OpenClaim(f'"{config.text}"{where}', self._to_settle(config, pairs)))

    def has_result(self, row: Row) -> bool:
        """Return whether any run of a row has ended and was tested."""
        return bool(self._outcomes[row.name].good or self._outcomes[row.name].failed)

    def of_row(self, row: Row, number: int | None = None) -> list[Run]:
        """Return the runs that a row lacks.

        Args:
            row: The row; for an ensemble, its members' runs are returned.
            number: Number of results wanted, of the row's own seeds first, then of the lowest other
                seeds; None for the row's own seeds.
        """
        if row.ensemble:
            members = [] if self.has_result(row) else row.ensemble.needs
            return [run for run in members if not run_state(run, self._plan.results).is_trained]
        outcome = self._outcomes[row.name]
        ended = {result.seed for result in (*outcome.good, *outcome.failed)}
        if number is None:
            return [row.run(seed) for seed in row.seeds if seed not in ended]
        seeds = dict.fromkeys((*row.seeds, *range(number + len(ended))))
        lacking = [seed for seed in seeds if seed not in ended]
        return [row.run(seed) for seed in lacking[: max(0, number - len(ended))]]

    def _to_settle(self, claim: ClaimConfig, pairs: list[Evidence]) -> tuple[Run, ...] | None:
        seeds: dict[str, int] = {}
        for pair in pairs:
            number = self._seeds_needed(claim, pair)
            for name in (pair.higher, pair.lower):
                seeds[name] = max(number, seeds.get(name, 0))
        if max(seeds.values(), default=0) > MOST_SEEDS:
            return None
        each = (self.of_row(self._rows[name], number) for name, number in seeds.items())
        return tuple(run for runs in each for run in runs) or None

    def _seeds_needed(self, claim: ClaimConfig, pair: Evidence) -> int:
        """Return how many seeds of each of two rows are expected to settle their comparison.

        Returns:
            A number larger than the present one; above `MOST_SEEDS` if that many do not settle it.
        """
        both = self._outcomes[pair.higher], self._outcomes[pair.lower]
        measure = MEASURES[claim.measure]
        first, second = (_expected(measure.printed(each.row.paper)) for each in both)
        number = DEFAULT_SEEDS
        if first is not None and second is not None:
            difference = abs(first - second)
            margin = self._plan.paper.margin
            # A gain may be lower than the paper's by what the margin is in percent.
            wanted = (
                abs(margin - difference) if claim.equal else margin if claim.gain else difference
            )
            spread = (
                spreads(self._outcomes.values(), measure)[both[0].data].pooled or ASSUMED_SPREAD
            )
            few = range(2, MOST_SEEDS + 1)
            number = next((n for n in few if half_width(n, spread) < wanted), MOST_SEEDS + 1)
        return max(number, min(pair.num_runs) + 1)


def _expected(paper: PaperValues) -> float | None:
    """Return the printed mean, or else the printed value."""
    return paper.error if paper.mean is None else paper.mean


def half_width(number: int, spread: Spread) -> float:
    """Return half the width of a difference's 95 % interval, with `number` seeds of each row."""
    # With enough seeds, the spread is estimated from the two rows alone.
    dof = 2 * number - 2 + (spread.dof if number < ENOUGH_SEEDS else 0)
    runs = [0.0] * number
    return statistics.between(runs, runs, Spread(spread.std, dof)).high
