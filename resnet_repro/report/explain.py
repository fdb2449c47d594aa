"""Where a cell comes from: the paper's number, our runs, and how one was set against the other."""

from pathlib import Path

from resnet_repro.experiment import PaperValues
from resnet_repro.plan import Plan, Row
from resnet_repro.records import Record
from resnet_repro.report import statistics
from resnet_repro.report.archive import NAME, Result
from resnet_repro.report.cells import line_texts, verdict_text
from resnet_repro.report.outcomes import Outcome, sort_all, spreads
from resnet_repro.report.remarks import code, in_words, machine
from resnet_repro.report.results import collect
from resnet_repro.report.tables import Line, build_table
from resnet_repro.report.text import count, duration
from resnet_repro.report.verdicts import spread_of


def explain_text(plan: Plan) -> str:
    """Explain the cells of the selected rows."""
    results = collect(plan)
    outcomes = sort_all(plan, results)
    lines = {line.name: line for line in build_table(plan, results).lines}
    rows = [row for row in plan.rows if row.name in plan.selected]
    return "\n\n".join(
        _explain(plan, row, lines[row.name], outcomes, results.get(row.name, [])) for row in rows
    )


def _explain(
    plan: Plan, row: Row, line: Line, outcomes: dict[str, Outcome], results: list[Result]
) -> str:
    where = f" ([{plan.paper.cite}] {plan.paper.where})" if plan.paper.cite else ""
    texts = dict(line_texts(line))
    parts = [
        f"{row.name} in {plan.name}{where}",
        f"  The paper: {_paper(row.paper)}",
        f"  Here: {texts['our error']}, {texts['seeds']} seeds, tested by {in_words(row.protocol)}"
        f" after the last iteration",
        *(f"  {each}" for each in _verdict(plan, row, line, outcomes)),
        f"  Settings: {_settings(row)}",
    ]
    if not results:
        return "\n".join([*parts, "  No run of it is recorded."])
    return "\n".join([*parts, *(_run(plan, row, result) for result in results)])


def _paper(paper: PaperValues) -> str:
    if paper.fail:
        text = "fail"
    elif paper.error_above is not None:
        text = f"above {paper.error_above:g} %"
    elif paper.error is not None:
        text = f"{paper.error:.{paper.decimals}f} %, {paper.statistic.replace('_', ' ')}"
    elif paper.top5 is not None:
        text = f"{paper.top5:.{paper.decimals}f} % among five"
    else:
        text = "prints no number"
    if paper.mean is not None:
        text += f", mean {paper.mean:.{paper.decimals}f}"
    if paper.std is not None:
        text += f" +- {paper.std:.{paper.decimals}f}"
    return text + (f"; {paper.ref} in the collection of published numbers" if paper.ref else "")


def _verdict(plan: Plan, row: Row, line: Line, outcomes: dict[str, Outcome]) -> list[str]:
    """Return the verdict, and the numbers from which it was made."""
    verdict, outcome = line.verdict, outcomes[row.name]
    if verdict is None:
        return []
    why = f" ({verdict.why})" if verdict.word == "not comparable" else ""
    lines = [f"Verdict: {verdict_text(verdict)}{why}"]
    errors = outcome.values("test")
    table = spreads(outcomes.values(), "test")[outcome.data]
    spread, reference = spread_of(errors, row.paper, table), statistics.reference(row.paper)
    if verdict.interval is None or spread is None or reference is None:
        return lines
    prints = " and the one that the paper prints" if row.paper.std is not None else ""
    source = (
        f"of its own runs{prints}"
        if len(errors) >= statistics.ENOUGH
        else f"of all rows on {outcome.data} and of the paper's, where it prints one"
    )
    power = statistics.power(plan.paper.margin, len(errors), reference, spread)
    return [
        *lines,
        f"  the difference of expected errors, {verdict.interval.difference:+.2f}, is taken from "
        f"our mean and the paper's {_reference(row.paper)}; spread between runs: {spread.std:.2f} "
        f"points, {source}, {count(spread.dof, 'degree')} of freedom",
        f"  matches would be: all of the interval within {plan.paper.margin:g} points; with "
        f"{count(len(errors), 'seed')} a real difference so large is told from none with "
        f"probability {power:.2f}",
    ]


def _reference(paper: PaperValues) -> str:
    if paper.mean is not None:
        return f"mean, {paper.mean:.{paper.decimals}f}"
    return f"{paper.error:.{paper.decimals}f} ({paper.statistic.replace('_', ' ')})"


def _settings(row: Row) -> str:
    changed = [f"{key} = {ours} (experiment: {theirs})" for key, ours, theirs in row.deviations]
    return "; ".join(changed) or "the experiment's"


def _run(plan: Plan, row: Row, result: Result) -> str:
    folder = plan.run_folder(row.ensemble or row.run(result.seed))
    error = result.error(row.protocol)
    facts = [
        result.state + (f" ({result.reason})" if result.reason else ""),
        f"test error {error:.2f} %" if error is not None else "",
        f"training error {result.train_error:.2f} %" if result.train_error is not None else "",
        f"iteration {result.iteration}" if result.iteration else "",
        duration(result.seconds) if result.seconds else "",
    ]
    lines = [f"  {result.id}: {', '.join(filter(None, facts))}"]
    for session in result.sessions:
        lines.append(
            f"    {session['started']}: resnet-repro {code(session)}, torch {session['torch']}, "
            f"{machine(session)}, {count(session.get('processes', 1), 'process')}, data "
            f"{session.get('data', 'unknown')}: `{session['command']}`"
        )
    if result.weights:
        lines.append(f"    weights: SHA-256 {result.weights}")
    lines.append(f"    {_place(folder, plan)}")
    return "\n".join(lines)


def _place(folder: Path, plan: Plan) -> str:
    if Record(folder).events() or Record(folder).evaluations():
        return f"files: {folder}"
    return f"files: {plan.folder / NAME} alone; the run's folder is not here"
