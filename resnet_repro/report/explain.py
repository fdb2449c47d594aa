"""Where a cell comes from: the paper's number, our runs, and how one was set against the other."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from resnet_repro.judge.measures import MEASURES, TEST, TOP5, TRAINING, Measure, compared_measures
from resnet_repro.judge.outcomes import sort_all
from resnet_repro.judge.verdicts import Verdict
from resnet_repro.plan import Ensemble, Plan, Row, Run, with_needs
from resnet_repro.records import Record
from resnet_repro.records.archive import RECORDS_FILE, Result
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.results import load_results, read_run
from resnet_repro.records.runs import run_folder
from resnet_repro.report.explanation import (
    ChangedSetting,
    Evidence,
    ExplainedRow,
    ExplainedRun,
    Explanation,
    Session,
)
from resnet_repro.report.remarks import code, machine
from resnet_repro.report.tables import build_table
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.settings.external_model import ExternalModelConfig


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
    return Explanation(plan.name, paper.cite, paper.where, plan.folder / RECORDS_FILE, tuple(rows))


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
