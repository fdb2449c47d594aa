"""A row's results, sorted into good, failed and not tested by the row's protocol."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from resnet_repro.judge.measures import Measure, first_measure
from resnet_repro.judge.spread import TableSpread, printed_spread
from resnet_repro.plan import Plan, Row
from resnet_repro.records.archive import Result


@dataclass(frozen=True)
class Outcome:
    """A row's results, sorted.

    Attributes:
        row: The row.
        good: Runs that did not fail and were tested by the row's protocol, in the order of seeds.
        failed: Runs that diverged, or whose value of the table's first measure is past the row's
            `fail_above` or `fail_below`.
        untested: Finished runs that lack that value: they were tested by other protocols only.
    """

    row: Row
    good: tuple[Result, ...]
    failed: tuple[Result, ...]
    untested: tuple[Result, ...]

    @property
    def runs(self) -> tuple[Result, ...]:
        """The runs that count: good and failed."""
        return self.good + self.failed

    def by_run(self, measure: Measure) -> dict[str, float]:
        """Return the values of a measure for the good runs that have it.

        Keys are the same for rows that test the same weights, and for no others.
        """
        pairs = ((each, measure.read(each, self.row.protocol)) for each in self.good)
        return {f"{run.run} {run.weights}": value for run, value in pairs if value is not None}

    def values(self, measure: Measure) -> tuple[float, ...]:
        """Return the values of a measure for the good runs that have it."""
        return tuple(self.by_run(measure).values())

    def with_failures(self, measure: Measure) -> tuple[float, ...]:
        """Return the values in the order of seeds, infinitely bad for each failed run."""
        worst = math.inf if measure.lower_is_better else -math.inf
        failed = {result.seed: worst for result in self.failed}
        good = {r.seed: measure.read(r, self.row.protocol) for r in self.good}
        values = [value for _, value in sorted((good | failed).items())]
        return tuple(value for value in values if value is not None)

    @property
    def data(self) -> str:
        """Title of the images that the row is tested on; for an ensemble, its members' images."""
        config = self.row.config
        if config is None and self.row.ensemble:
            config = self.row.ensemble.needs[0].config
        return config.data.title if config else ""


def sort_results(row: Row, results: Iterable[Result], measure: Measure) -> Outcome:
    """Sort a row's results by the table's first measure, without the runs that have not ended."""
    ended = [result for result in results if result.ended]
    tested = [result for result in ended if _is_tested(result, row, measure)]
    return Outcome(
        row=row,
        good=tuple(result for result in tested if not _is_fail(result, row, measure)),
        failed=tuple(result for result in tested if _is_fail(result, row, measure)),
        untested=tuple(result for result in ended if not _is_tested(result, row, measure)),
    )


def _is_tested(result: Result, row: Row, measure: Measure) -> bool:
    return result.state == "diverged" or measure.read(result, row.protocol) is not None


def _is_fail(result: Result, row: Row, measure: Measure) -> bool:
    value = measure.read(result, row.protocol)
    if result.state == "diverged" or value is None:
        return True
    above, below = row.fail_above, row.fail_below
    return (above is not None and value > above) or (below is not None and value < below)


def sort_all(plan: Plan, results: dict[str, list[Result]]) -> dict[str, Outcome]:
    """Sort the results of every row that is not cited; keys are the rows' names."""
    return {
        row.name: sort_results(row, results.get(row.name, []), first_measure(plan))
        for row in plan.rows
        if not row.is_cited
    }


def spreads(outcomes: Iterable[Outcome], measure: Measure) -> dict[str, TableSpread]:
    """Return what tells the spread between runs, for all rows tested on the same images.

    Spreads that the paper prints for the measure are included, except for rows with changed
    settings.
    """
    by_data: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_data.setdefault(outcome.data, []).append(outcome)
    return {
        data: TableSpread(
            tuple(each.by_run(measure) for each in known),
            tuple(
                spread
                for each in known
                if not each.row.changed
                for spread in printed_spread(measure.printed(each.row.paper))
            ),
        )
        for data, known in by_data.items()
    }
