"""An explanation of a table's cells, as text."""

from collections.abc import Sequence
from pathlib import Path

from resnet_repro.judge.contrasts import Contrast
from resnet_repro.judge.measures import MEASURES, TEST, TOP5, Measure
from resnet_repro.judge.verdicts import Verdict
from resnet_repro.report.cells import cell_text, line_texts, measure_columns, verdict_text
from resnet_repro.report.explanation import Evidence, ExplainedRow, ExplainedRun, Explanation
from resnet_repro.report.remarks import protocol_text
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.text import count, duration


def explain_text(found: Explanation) -> str:
    """Return the explanation of each row."""
    where = f" ([{found.paper}] {found.where})" if found.paper else ""
    title = f"{found.experiment}{where}"
    return "\n\n".join(_row_text(title, found.records, row) for row in found.rows)


def _row_text(title: str, records: Path, row: ExplainedRow) -> str:
    texts = dict(line_texts(row.line))
    first, *others = _measures(row)
    here = texts[measure_columns([first.key])[first.key][1]]
    if first is not TEST:
        here = f"{first.name} {here}"
    for each in others:
        if ours := row.line.measured(each.key).ours:
            text = cell_text(ours)
            here += f", {each.column} {f'({text})' if row.line.shortened else text}"
    changed = [f"{each.setting} = {each.here} (experiment: {each.experiment})"
               for each in row.settings]  # fmt: skip
    settings = "; ".join(changed) or "the experiment's"
    parts = [
        f"{row.row} in {title}",
        f"  The paper: {_paper(row.line.paper, [first, *others])}",
        f"  Here: {here}, {texts['seeds']} seeds, "
        f"tested by {protocol_text(row.protocol)} after the last iteration",
        *(f"  {each}" for each in [*_verdicts(row), *_contrast(row.line.contrast)]),
        f"  Settings: {settings}",
        *([f"  Source of the network: {row.source}"] if row.source else []),
    ]
    parts += [_run_text(run, records) for run in row.runs] or ["  No run is recorded."]
    if row.needs:
        why = "Members" if row.is_ensemble else "Trained first, for their weights or proposals"
        parts += [f"  {why}:"]
        parts += [_run_text(run, records) for run in row.needs]
    if row.is_ensemble:
        parts += _changed_members(row)
    return "\n".join(parts)


def _changed_members(row: ExplainedRow) -> list[str]:
    """Return a warning for each member that was trained again after the ensemble was tested."""
    tested = {weights for run in row.runs for weights in run.tested_weights}
    return [
        f"  {member.id} has other weights now than when the ensemble was tested: delete the "
        f"ensemble's folder and run `evaluate` to test it again"
        for member in row.needs
        if tested and member.weights not in (None, *tested)
    ]


def _measures(row: ExplainedRow) -> list[Measure]:
    """Return the measures of the table, the first one first."""
    keys = [row.line.measure, *([TOP5.key] if row.line.measure == TEST.key else ())]
    return [MEASURES[key] for key in [*keys, *row.line.others]]


def _paper(paper: PaperValues, measures: Sequence[Measure]) -> str:
    if paper.fail:
        text = "fail"
    elif paper.error_above is not None:
        text = f"above {paper.error_above:g} %"
    elif paper.error is not None:
        text = f"{paper.error:.{paper.decimals}f} %, {paper.statistic.replace('_', ' ')}"
    else:
        printed = [(each.column, each.printed(paper).error) for each in measures]
        each = (f"{name} {v:.{paper.decimals}f} %" for name, v in printed if v is not None)
        text = ", ".join(each) or "prints no number"
    if paper.mean is not None:
        text += f", mean {paper.mean:.{paper.decimals}f}"
    if paper.std is not None:
        text += f" +- {paper.std:.{paper.decimals}f}"
    return text + (f"; {paper.ref} in the collection of published numbers" if paper.ref else "")


def _verdicts(row: ExplainedRow) -> list[str]:
    """Return the row's verdicts, and the numbers from which each was made."""
    evidence = {**row.evidence_others, TOP5.key: row.evidence_top5, row.line.measure: row.evidence}
    return [
        text
        for each in _measures(row)
        for text in _verdict(row, each, row.line.measured(each.key).verdict, evidence.get(each.key))
    ]


def _contrast(contrast: Contrast | None) -> list[str]:
    """Return how a row of a sweep compares with the baseline, and by which numbers."""
    if contrast is None:
        return []
    lines = [f"Compared with {contrast.baseline}: {verdict_text(contrast.verdict)}"]
    if contrast.verdict.interval and contrast.spread:
        both = " and ".join(count(number, "seed") for number in contrast.num_runs)
        of = "of the differences within runs / √2" if contrast.spread.paired else "between runs"
        lines.append(
            f"  {both}; spread {of}: {contrast.spread.std:.2f} points, "
            f"degrees of freedom: {contrast.spread.dof:.3g}; confidence of the interval "
            f"{100 * contrast.confidence:.4g} %, corrected for "
            f"{count(contrast.num_comparisons, 'comparison')}"
        )
    return lines


def _verdict(
    row: ExplainedRow, measure: Measure, verdict: Verdict | None, evidence: Evidence | None
) -> list[str]:
    if verdict is None:
        return []
    of = "" if measure is TEST else f", {measure.name}"
    why = f" ({verdict.why})" if verdict.word == "not comparable" else ""
    lines = [f"Verdict{of}: {verdict_text(verdict)}{why}"]
    if verdict.interval is None or evidence is None:
        return lines
    paper = measure.printed(row.line.paper)
    prints = " and the one that the paper prints" if paper.std is not None else ""
    source = (
        f"of its own runs{prints}"
        if evidence.spread_of == "row"
        else f"of all rows on {row.images} and of the paper's, where it prints one"
    )
    return [
        *lines,
        f"  the difference of expected {measure.plural}, {verdict.interval.difference:+.2f}, is "
        f"taken from our mean and the paper's {_reference(paper)}; spread between runs: "
        f"{evidence.spread:.2f} points, {source}, "
        f"degrees of freedom: {evidence.degrees_of_freedom:.3g}",
        f"  matches requires the whole interval within {evidence.margin:g} points; with "
        f"{count(evidence.num_runs, 'seed')} the probability of detecting a difference of "
        f"{evidence.margin:g} points is {evidence.power:.2f}",
    ]


def _reference(paper: PaperValues) -> str:
    if paper.mean is not None:
        return f"mean, {paper.mean:.{paper.decimals}f}"
    return f"{paper.error:.{paper.decimals}f} ({paper.statistic.replace('_', ' ')})"


def _run_text(run: ExplainedRun, records: Path) -> str:
    facts = [
        run.state + (f" ({run.reason})" if run.reason else ""),
        "" if run.test_error is None else f"test error {run.test_error:.2f} %",
        "" if run.top5_error is None else f"top-5 error {run.top5_error:.2f} %",
        *(f"{MEASURES[key].name} {value:.2f} %" for key, value in run.values.items()),
        "" if run.train_error is None else f"training error {run.train_error:.2f} %",
        f"iteration {run.iteration}" if run.iteration else "",
        duration(run.seconds) if run.seconds else "",
    ]
    lines = [f"  {run.id}: {', '.join(filter(None, facts))}"]
    for each in run.sessions:
        lines.append(
            f"    {each.started}: resnet-repro {each.code}, torch {each.torch}, {each.machine}, "
            f"{count(each.processes, 'process')}, data {each.data}: `{each.command}`"
        )
    if run.weights:
        lines.append(f"    weights: SHA-256 {run.weights}")
    lacking = run.damage or "the run's folder is not here"
    return "\n".join([*lines, f"    files: {run.folder or f'{records} alone; {lacking}'}"])
