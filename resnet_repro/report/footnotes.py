"""The footnotes of a row: changed settings, failed runs, and runs that were tested otherwise."""

from collections.abc import Sequence

from resnet_repro.judge.measures import Measure
from resnet_repro.judge.outcomes import Outcome
from resnet_repro.plan import Row
from resnet_repro.records.archive import Result
from resnet_repro.report.remarks import protocol_text


def footnotes(row: Row, outcome: Outcome, results: Sequence[Result], measure: Measure) -> list[str]:
    """Return the texts of a row's footnotes.

    Args:
        row: The row.
        outcome: Its results, sorted.
        results: Its results.
        measure: The table's first measure.
    """
    texts = [
        f"{key} = {_plain(mine)}{_bn_group(key, row, results)} (experiment: {_plain(theirs)})."
        for key, mine, theirs in row.fixed_changes
    ]
    for each in outcome.failed:
        why = each.reason or _why_failed(each, row, measure)
        texts += [f"{each.row}, seed {each.seed}: {why}."] if why else []
    texts += [
        f"{r.row}, seed {r.seed}: not counted, because {_why_untested(r, row, measure)}."
        for r in outcome.untested
    ]
    return texts


def _why_failed(result: Result, row: Row, measure: Measure) -> str:
    """Return the value of a run that is past the row's limit; empty for other failures."""
    value = measure.read(result, row.protocol)
    if result.state == "diverged" or value is None:
        return ""
    bound = row.fail_above if measure.lower_is_better else row.fail_below
    side = "above" if measure.lower_is_better else "below"
    return f"{measure.name} {value:.2f}, {side} the row's limit of {bound:g}"


def _why_untested(result: Result, row: Row, measure: Measure) -> str:
    if row.protocol in result.evaluations:
        return f"its test gave no {measure.name}"
    wanted = protocol_text(row.protocol)
    tests = " and ".join(map(protocol_text, sorted(result.evaluations.keys() - {"responses"})))
    return (
        f"it was tested with {tests}, not with {wanted}" if tests else f"no test with {wanted} yet"
    )


def _bn_group(key: str, row: Row, results: Sequence[Result]) -> str:
    """Return the actual size of batch-norm groups where the setting does not determine it."""
    if key != "recipe.bn_batch" or row.config is None or row.config.recipe.bn_batch is not None:
        return ""
    processes = {session.get("processes", 1) for each in results for session in each.sessions}
    sizes = sorted(row.config.recipe.batch_size // number for number in processes or {1})
    return f", the whole share of a process: {' or '.join(map(str, sizes))} images"


def _plain(value: object) -> str:
    return "none" if value is None else str(value)
