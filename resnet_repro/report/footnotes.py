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
    texts += [f"{r.row}, seed {r.seed}: {r.reason}." for r in outcome.failed if r.reason]
    texts += [
        f"{r.row}, seed {r.seed}: not counted, because {_why_untested(r, row, measure)}."
        for r in outcome.untested
    ]
    return texts


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
