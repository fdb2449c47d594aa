"""Where a cell comes from: the paper's number, our runs, and how one was set against the other."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_repro.judge.measures import MEASURES, TEST, TOP5, TRAINING, Measure, compared_measures
from resnet_repro.judge.outcomes import sort_all
from resnet_repro.judge.verdicts import Verdict
from resnet_repro.plan import Ensemble, Plan, Row, Run, with_needs
from resnet_repro.records import Record
from resnet_repro.records.archive import NAME, Result
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.results import load_results, read_run
from resnet_repro.records.runs import run_folder
from resnet_repro.report.remarks import code, machine
from resnet_repro.report.tables import Line, build_table
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.settings.external_model import ExternalModelConfig
from resnet_repro.strict_json import SPARE


@dataclass(frozen=True)
class Evidence:
    """The numbers from which a verdict was made.

    Attributes:
        reference: The paper's number that our mean is compared with, %.
        statistic: What it is: `mean`, `single`, `best_of_5`, ...
        spread: Standard deviation between runs, points.
        spread_of: `row`: of its own runs, and the one the paper prints; or `table`: of all rows on
            the same images.
        degrees_of_freedom: Degrees of freedom of the spread.
        num_runs: Runs of ours behind our mean.
        margin: Two values that differ by less match, points.
        power: Probability of detecting a difference as large as the margin.
    """

    reference: float
    statistic: str
    spread: float
    spread_of: str
    degrees_of_freedom: int
    num_runs: int
    margin: float
    power: float


@dataclass(frozen=True)
class ChangedSetting:
    """A setting that is not the experiment's."""

    setting: str
    here: Any
    experiment: Any


@dataclass(frozen=True)
class Session:
    """In which a run was trained, or a part of it; `code`: version of this program and commit."""

    started: str
    code: str
    torch: str
    machine: str
    processes: int
    data: str
    command: str


@dataclass(frozen=True)
class ExplainedRun:
    """A run behind a cell; errors and other values in %.

    Attributes:
        id: The run's id.
        seed: Its seed.
        state: As in its record: `finished`, `diverged`, `failed` or `unfinished`.
        reason: Why it diverged or failed.
        test_error: By the row's protocol; of a step without a row, by its own.
        top5_error: Likewise, where the images have so many classes that it is counted.
        train_error: Over the last epoch.
        iteration: Iterations done.
        seconds: Training time.
        weights: SHA-256 of the final weights.
        tested_weights: SHA-256 of the weights with which the row's test was made: one for each
            member of an ensemble, else one; empty where the test does not tell.
        folder: The folder of its files; None if only the file of records has it.
        damage: Why its folder cannot be read; None if it can.
        sessions: The sessions in which it was trained, first to last.
        values: Other measures of the table by key.
    """

    id: str
    seed: int
    state: str
    reason: str | None
    test_error: float | None
    top5_error: float | None
    train_error: float | None
    iteration: int
    seconds: float | None
    weights: str | None
    tested_weights: tuple[str, ...]
    folder: Path | None
    damage: str | None
    sessions: tuple[Session, ...]
    values: dict[str, float] = field(default_factory=dict, metadata=SPARE)


@dataclass(frozen=True)
class ExplainedRow:
    """A row of the table, and what is behind it.

    Attributes:
        row: Its name.
        is_ensemble: Whether the row averages other rows' networks.
        protocol: The key of the test behind its number.
        images: The images on which it is tested.
        line: Its line of the table: the paper's values, ours, the verdict.
        evidence: The numbers behind the verdict; None where it has none.
        evidence_top5: Likewise for the verdict on the top-5 error.
        settings: The settings that differ from the experiment's.
        source: What identifies the code of a network that is not ours; None for ours.
        runs: The runs, in the order of their seeds.
        needs: The members of an ensemble; or the runs that this row's runs need: from whose weights
            they start, or whose proposals they take, first those that are trained first.
        evidence_others: Likewise for the verdicts on the table's further measures, by key.
    """

    row: str
    is_ensemble: bool
    protocol: str
    images: str
    line: Line
    evidence: Evidence | None
    evidence_top5: Evidence | None
    settings: tuple[ChangedSetting, ...]
    source: str | None
    runs: tuple[ExplainedRun, ...]
    needs: tuple[ExplainedRun, ...]
    evidence_others: dict[str, Evidence] = field(default_factory=dict, metadata=SPARE)


@dataclass(frozen=True)
class Explanation:
    """Where the selected rows of an experiment come from.

    Attributes:
        experiment: Its name.
        paper: `He15`; None of one of our own.
        where: The place in the paper.
        records: Its file of records.
        rows: The rows.
    """

    experiment: str
    paper: str | None
    where: str
    records: Path
    rows: tuple[ExplainedRow, ...]


def explain_rows(plan: Plan) -> Explanation:
    """Explain the cells of the selected rows."""
    results = load_results(plan)
    outcomes = sort_all(plan, results)
    lines = {line.name: line for line in build_table(plan, results).lines}
    recorded, measures = _by_id(plan, results), plan.paper.measures
    rows = []
    for row in plan.selected_rows:
        line, outcome = lines[row.name], outcomes[row.name]
        found = {
            key: evidence
            for key in measures
            if (evidence := _evidence(plan, line.measured(key).verdict, row.paper, MEASURES[key]))
        }
        rows.append(
            ExplainedRow(
                row=row.name,
                is_ensemble=row.ensemble is not None,
                protocol=row.protocol,
                images=outcome.data,
                line=line,
                evidence=found.pop(line.measure, None),
                evidence_top5=found.pop(TOP5.key, None),
                settings=tuple(ChangedSetting(*each) for each in row.changes),
                source=_source(row),
                runs=tuple(
                    _run(plan, row.ensemble or row.run(each.seed), row.protocol, each)
                    for each in results.get(row.name, [])
                ),
                needs=_needs(plan, row, results.get(row.name, []), recorded),
                evidence_others=found,
            )
        )
    paper = plan.paper
    return Explanation(plan.name, paper.cite, paper.where, plan.folder / NAME, tuple(rows))


def _source(row: Row) -> str | None:
    if row.config and isinstance(row.config.model, ExternalModelConfig):
        return row.config.model.source
    return None


def _evidence(
    plan: Plan, verdict: Verdict | None, printed: PaperValues, measure: Measure
) -> Evidence | None:
    basis, paper = verdict.basis if verdict else None, measure.printed(printed)
    if basis is None:
        return None
    return Evidence(
        reference=basis.reference.value,
        statistic="mean" if paper.mean is not None else paper.statistic,
        spread=basis.spread.std,
        spread_of=basis.source,
        degrees_of_freedom=basis.spread.dof,
        num_runs=basis.num_runs,
        margin=plan.paper.margin,
        power=basis.power(plan.paper.margin),
    )


def _by_id(plan: Plan, results: dict[str, list[Result]]) -> dict[str, tuple[str, Result]]:
    """Return the results by the id of their run, each with its row's protocol."""
    found: dict[str, tuple[str, Result]] = {}
    for row in plan.rows:
        for result in results.get(row.name, []):
            found.setdefault(result.id, (row.protocol, result))
    return found


def _needs(
    plan: Plan, row: Row, results: list[Result], recorded: dict[str, tuple[str, Result]]
) -> tuple[ExplainedRun, ...]:
    """Explain the runs that a row's runs, or its ensemble, need, as far as they are recorded."""
    works = [row.ensemble] if row.ensemble else [row.run(each.seed) for each in results]
    explained = []
    for run in with_needs(run for work in works for run in work.needs):
        protocol, result = recorded.get(run.id, (run.config.evaluation.key, None))
        result = result or read_run(run, plan.results)  # a step has no row of its own
        if result:
            explained.append(_run(plan, run, protocol, result))
    return tuple(explained)


def _run(plan: Plan, run: Run | Ensemble, protocol: str, result: Result) -> ExplainedRun:
    folder = run_folder(run, plan.results)
    damage, typed = None, _commands(folder)  # with this machine's paths, which no record has
    try:
        is_here = bool(Record(folder).events() or Record(folder).evaluations())
    except DamagedError as error:
        is_here, damage = False, str(error)
    return ExplainedRun(
        id=result.id,
        seed=result.seed,
        state=result.state,
        reason=result.reason,
        test_error=result.error(protocol),
        top5_error=result.error(protocol, top5=True),
        train_error=result.train_error,
        iteration=result.iteration,
        seconds=result.seconds,
        weights=result.weights,
        tested_weights=_tested_weights(result, protocol),
        folder=folder if is_here else None,
        damage=damage,
        sessions=tuple(_session(each, typed) for each in result.sessions),
        values={
            each.key: value
            for each in compared_measures(plan)
            if each not in (TEST, TOP5, TRAINING)
            and (value := each.read(result, protocol)) is not None
        },
    )


def _tested_weights(result: Result, protocol: str) -> tuple[str, ...]:
    weights = result.evaluations.get(protocol, {}).get("weights", ())
    return (weights,) if isinstance(weights, str) else tuple(weights)


def _commands(folder: Path) -> dict[str, str]:
    """Return the commands of a run's sessions by the time they started, where its folder is."""
    with suppress(DamagedError):
        return {each["started"]: each["command"] for each in Record(folder).environment()}
    return {}


def _session(session: dict[str, Any], typed: dict[str, str]) -> Session:
    return Session(
        started=session["started"],
        code=code(session),
        torch=session["torch"],
        machine=machine(session),
        processes=session.get("processes", 1),
        data=session.get("data", "unknown"),
        command=typed.get(session["started"], session["command"]),
    )
