"""The paper's table with our results next to it, as numbers and footnotes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resnet_repro.judge.claims import Claim, judge_claims
from resnet_repro.judge.contrasts import Contrast, baselines, contrasts
from resnet_repro.judge.measures import (
    TEST,
    TOP5,
    TRAINING,
    Measure,
    compared_measures,
    first_measure,
)
from resnet_repro.judge.outcomes import Outcome, sort_all, spreads
from resnet_repro.judge.spread import TableSpread
from resnet_repro.judge.statistics import Aggregate, aggregate
from resnet_repro.judge.verdicts import Verdict, judge, why_not_comparable
from resnet_repro.plan import Plan, Row
from resnet_repro.records.archive import Result
from resnet_repro.report.class_table import ClassTable, class_table
from resnet_repro.report.footnotes import footnotes
from resnet_repro.report.remarks import remarks
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.settings.model import ModelConfig
from resnet_repro.strict_json import SPARE
from resnet_repro.text import count


@dataclass(frozen=True)
class Measured:
    """A row's value of a measure, and the verdict on it; None where there is none."""

    ours: Aggregate | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Line:
    """A row of the table, as numbers; the formats differ only in how they print them.

    Attributes:
        name: The row's name.
        cited: Whether the paper quotes the row from elsewhere; we do not run it.
        layers: Number of the network's layers.
        params: Number of the network's parameters.
        paper: The values that the paper prints.
        ours: Our value of the table's first measure over the seeds that did not fail; None before
            there is one.
        top5: Our top-5 error over the same seeds; None where the table has no top-5 errors.
        train_error: Mean training error over the same seeds, %.
        failed: Seeds that diverged, or whose value is past the row's `fail_above` or `fail_below`.
        wanted: Number of seeds: the most of the paper's, those asked for and those that ended.
        progress: Fraction of the iterations done, 0..1, while no run has ended; otherwise None.
        shortened: `(iterations, the experiment's iterations)` of a shortened schedule, or None.
        notes: Numbers of the row's footnotes.
        runs: Ids of the runs that count.
        verdict: Verdict on `ours`; None where it cannot be compared.
        verdict_top5: Verdict on our top-5 error; None where it cannot be compared.
        network: The experiment's row: the name without the values of a sweep.
        values: The row's value of each setting of a sweep.
        is_default: Whether these are the experiment's own values.
        is_baseline: Whether a sweep compares its other rows with this one.
        contrast: The comparison with the baseline, in a sweep; None without runs of both.
        measure: Key of the table's first measure.
        others: Our values of its further measures but the top-5 error, by key.
    """

    name: str
    cited: bool
    layers: int | None
    params: float | None
    paper: PaperValues
    ours: Aggregate | None
    top5: Aggregate | None
    train_error: float | None
    failed: tuple[int, ...]
    wanted: int
    progress: float | None
    shortened: tuple[int, int] | None
    notes: tuple[int, ...]
    runs: tuple[str, ...]
    verdict: Verdict | None
    verdict_top5: Verdict | None
    network: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    is_default: bool = True
    is_baseline: bool = False
    contrast: Contrast | None = None
    measure: str = field(default="test", metadata=SPARE)
    others: dict[str, Measured] = field(default_factory=dict, metadata=SPARE)

    def measured(self, key: str) -> Measured:
        """Return our value of a measure and the verdict on it."""
        if key == self.measure:
            return Measured(self.ours, self.verdict)
        if key == TOP5.key:
            return Measured(self.top5, self.verdict_top5)
        return self.others.get(key, Measured())


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        experiment: The experiment's name.
        title: The table's caption.
        lines: The rows in the paper's order.
        notes: Footnotes, numbered from 1.
        remarks: Remarks on the whole table: measurement, recipe, provenance.
        claims: The paper's claims and their outcomes on the runs of this table.
        is_changed: Whether the runs have other settings than the experiment's, swept ones aside.
        swept: The settings that vary, in a sweep.
        measures: Keys of its measures, as `PaperConfig.measures`.
        per_class: Average precision of each class; None where the table has none.
    """

    experiment: str
    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    claims: tuple[Claim, ...]
    is_changed: bool
    swept: tuple[str, ...] = ()
    measures: tuple[str, ...] = field(default=(TEST.key, TOP5.key), metadata=SPARE)
    per_class: ClassTable | None = field(default=None, metadata=SPARE)


def build_table(
    plan: Plan, results: dict[str, list[Result]], others: Sequence[Result] = ()
) -> Table:
    """Build the table of the paper's values and our results.

    Args:
        plan: The experiment.
        results: Results of each row, by the row's name.
        others: Recorded runs with other settings than the plan's, which are listed but not counted.
    """
    notes: dict[str, int] = {}
    outcomes = sort_all(plan, results)
    measures = compared_measures(plan)
    spread = {measure.key: spreads(outcomes.values(), measure) for measure in measures}
    shown = _shown_rows(plan, results)
    compared, bases = contrasts(plan, outcomes, {row.name for row in shown}), baselines(plan)
    lines = tuple(
        replace(
            _line(
                plan,
                row,
                results.get(row.name, []),
                outcomes.get(row.name),
                spread,
                measures,
                notes,
            ),
            is_baseline=bases.get(row.of or "") is row,
            contrast=compared.get(row.name),
        )
        for row in shown
    )
    about = remarks(replace(plan, rows=tuple(shown)), results, others)
    where = f"[{plan.paper.cite}] {plan.paper.where}. " if plan.paper.cite else ""
    return Table(
        experiment=plan.name,
        title=f"{where}{plan.paper.title}",
        lines=lines,
        notes=tuple(notes),
        remarks=(*_about_baseline(plan, compared), *about),
        claims=tuple(judge_claims(plan, outcomes)),
        is_changed=any(row.fixed_changes for row in plan.rows),
        swept=plan.sweep.keys if plan.sweep else (),
        measures=tuple(plan.paper.measures),
        per_class=class_table(plan, outcomes, [line.name for line in lines]),
    )


def _shown_rows(plan: Plan, results: dict[str, list[Result]]) -> list[Row]:
    """Return the rows of the table: of a sweep, all values of some networks.

    These are the selected networks and those that have recorded runs which no shown one has.
    """
    if plan.sweep is None:
        return list(plan.rows)
    networks = {row.of for row in plan.selected_rows}
    runs = {row.name: {each.run for each in results.get(row.name, [])} for row in plan.rows}
    known = set[str]().union(*(runs[row.name] for row in plan.rows if row.of in networks))
    for row in plan.rows:
        if row.of not in networks and runs[row.name] - known:
            networks.add(row.of)
            known |= set[str]().union(*(runs[r.name] for r in plan.rows if r.of == row.of))
    return [row for row in plan.rows if row.of in networks]


def _about_baseline(plan: Plan, compared: dict[str, Contrast]) -> list[str]:
    """Return a remark on how the rows of a sweep were compared with one of them."""
    if not compared:
        return []
    first = next(iter(compared.values()))
    number = count(first.num_comparisons, "comparison")
    return [
        f"Baseline: expected {first_measure(plan).name} of the row minus that of the baseline of "
        f"its network, in points. same: all of the interval is within {plan.paper.margin:g} "
        f"points; better or worse: it excludes zero. Intervals have a confidence of "
        f"{100 * first.confidence:.4g} %, so that all hold together with 95 % ({number}; "
        f"Bonferroni)."
    ]


def _line(
    plan: Plan,
    row: Row,
    results: list[Result],
    outcome: Outcome | None,
    spread: dict[str, dict[str, TableSpread]],
    measures: Sequence[Measure],
    notes: dict[str, int],
) -> Line:
    if outcome is None:
        outcome = Outcome(row, (), (), ())
    paper, train_errors = row.paper, outcome.values(TRAINING)
    found = {each.key: _compare(plan, outcome, each, spread) for each in measures}
    first = found.pop(measures[0].key)
    top5 = found.pop(TOP5.key, Measured())
    changes = {key: (ours, theirs) for key, ours, theirs in row.fixed_changes}
    ends = (key for key in sorted(changes, key=len) if f".{key}".endswith(".recipe.iterations"))
    shortened = (changes[key] for key in ends if changes[key][0] < changes[key][1])
    texts = footnotes(row, outcome, results, measures[0])
    return Line(
        name=row.name,
        network=row.network,
        values=dict(row.point),
        is_default=row.is_at_shipped_point,
        cited=row.is_cited,
        layers=_layers(row),
        params=_params(row),
        paper=paper,
        ours=first.ours,
        top5=top5.ours,
        train_error=sum(train_errors) / len(train_errors) if train_errors else None,
        failed=tuple(result.seed for result in outcome.failed),
        wanted=max(paper.num_runs, len(row.seeds), len(outcome.runs)),
        progress=_progress(row, results) if not outcome.runs else None,
        shortened=next(shortened, None),  # the run's own schedule, or an earlier step's
        notes=tuple(_number(notes, text) for text in texts) if results else (),
        runs=tuple(result.id for result in outcome.runs),
        verdict=first.verdict,
        verdict_top5=top5.verdict,
        measure=measures[0].key,
        others=found,
    )


def _compare(
    plan: Plan, outcome: Outcome, measure: Measure, spread: dict[str, dict[str, TableSpread]]
) -> Measured:
    """Return a row's value of a measure, and the verdict on it."""
    values, paper = outcome.values(measure), measure.printed(outcome.row.paper)
    is_lower = measure.lower_is_better
    cell = (
        aggregate(outcome.with_failures(measure), paper, lower_is_better=is_lower)
        if values
        else None
    )
    table = spread[measure.key].get(outcome.data, TableSpread())
    runs, number = outcome.by_run(measure), len(outcome.failed)
    verdict = judge(runs, number, paper, table, plan.paper.margin, measure)
    why_not = why_not_comparable(outcome.row)
    if why_not:
        cell = cell and replace(cell, value=None, difference=None, compared="")
        verdict = verdict and Verdict("not comparable", why=why_not)
    return Measured(cell, verdict)


def _layers(row: Row) -> int | None:
    if row.config is None:
        return row.paper.layers
    return row.config.model.depth if isinstance(row.config.model, ModelConfig) else None


def _params(row: Row) -> float | None:
    if row.config is None:
        return row.paper.params
    return row.exact.params if row.exact and row.is_network_as_shipped else None


def _progress(row: Row, results: list[Result]) -> float | None:
    if not results or row.config is None:
        return None
    return max(result.iteration for result in results) / row.config.recipe.iterations


def _number(notes: dict[str, int], text: str) -> int:
    """Return the number of a footnote; equal texts share one footnote."""
    return notes.setdefault(text, len(notes) + 1)
