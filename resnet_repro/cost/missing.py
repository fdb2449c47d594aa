"""Which runs a table lacks: its rows, and what is needed to settle the paper's claims.

How many seeds settle a claim is not known before they are run. It is expected from what the paper
prints: as many as make the 95 % interval of a difference narrower than the paper's difference.
"""

from dataclasses import dataclass

from resnet_repro.judge import statistics
from resnet_repro.judge.claims import Evidence, judge_claims
from resnet_repro.judge.measures import MEASURES
from resnet_repro.judge.outcomes import sort_all, spreads
from resnet_repro.judge.statistics import ENOUGH_SEEDS, Spread
from resnet_repro.plan import Plan, Row, Run
from resnet_repro.records.results import collect
from resnet_repro.records.runs import look
from resnet_repro.settings.experiment import ClaimConfig, PaperValues

MAX_SEEDS = 10  # a claim that takes more is not aimed at
DEFAULT_SEEDS = 3  # where the paper prints no difference to tell
# Between runs, points, where neither our runs nor the paper tell: an assumption. Of ResNet-110
# [He15] Table 6 prints 0.16.
ASSUMED_SPREAD = Spread(0.2, 0)


@dataclass(frozen=True)
class OpenClaim:
    """A claim that is not settled.

    Attributes:
        text: In words, and where in the paper.
        runs: Those that are expected to settle it; None where that takes more than `MAX_SEEDS`.
    """

    text: str
    runs: tuple[Run, ...] | None


class Missing:
    """What a plan's table lacks.

    Args:
        plan: The experiment.

    Attributes:
        claims: Those that are not settled.
        num_settled: Number of the others.
    """

    def __init__(self, plan: Plan) -> None:
        results = collect(plan)
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
        """Return whether a run of a row has ended and was tested."""
        return bool(self._outcomes[row.name].good or self._outcomes[row.name].failed)

    def of_row(self, row: Row, number: int | None = None) -> list[Run]:
        """Return the runs that a row lacks.

        Args:
            row: The row; of an ensemble, its members count.
            number: Of results that are wanted: its own seeds first, then the lowest ones; None for
                its own seeds.
        """
        if row.ensemble:
            members = [] if self.has_result(row) else row.ensemble.needs
            return [run for run in members if not look(run, self._plan.results).is_trained]
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
        if max(seeds.values()) > MAX_SEEDS:
            return None
        each = (self.of_row(self._rows[name], number) for name, number in seeds.items())
        return tuple(run for runs in each for run in runs) or None

    def _seeds_needed(self, claim: ClaimConfig, pair: Evidence) -> int:
        """Return how many seeds of each of two rows are expected to tell how they differ.

        Returns:
            More than there are; above `MAX_SEEDS` where those do not.
        """
        both = self._outcomes[pair.higher], self._outcomes[pair.lower]
        measure = MEASURES[claim.measure]
        first, second = (_expected(measure.printed(each.row.paper)) for each in both)
        number = DEFAULT_SEEDS
        if first is not None and second is not None:
            difference = abs(first - second)
            wanted = abs(self._plan.paper.margin - difference) if claim.equal else difference
            spread = spreads(self._outcomes.values(), measure)[both[0].data] or ASSUMED_SPREAD
            few = range(2, MAX_SEEDS + 1)
            number = next((n for n in few if half_width(n, spread) < wanted), MAX_SEEDS + 1)
        return max(number, min(pair.num_runs) + 1)


def _expected(paper: PaperValues) -> float | None:
    """Return the printed value that comes nearest to a row's expected one."""
    return paper.error if paper.mean is None else paper.mean


def half_width(number: int, spread: Spread) -> float:
    """Return that of the 95 % interval of a difference between rows of so many seeds each."""
    dof = (
        2 * number - 2 + (spread.dof if number < ENOUGH_SEEDS else 0)
    )  # then the two rows' own alone
    runs = [0.0] * number
    return statistics.between(runs, runs, Spread(spread.std, dof)).high
