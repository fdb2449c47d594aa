"""Two results of one experiment, row by row: two machines, two versions, two precisions."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from resnet_repro.experiment import PaperValues
from resnet_repro.plan import Plan, Row
from resnet_repro.report import statistics
from resnet_repro.report.archive import Result, read_archive
from resnet_repro.report.cells import cell_text, interval_text
from resnet_repro.report.claims import spread_between
from resnet_repro.report.outcomes import Outcome, sort_all
from resnet_repro.report.remarks import code, machine
from resnet_repro.report.results import assign
from resnet_repro.report.statistics import Spread, aggregate
from resnet_repro.report.text import markdown
from resnet_repro.report.verdicts import NO_SPREAD

Side = tuple[Plan, Path]
# Of a session.
FACTS = (
    "resnet-repro",
    "machine",
    "python",
    "torch",
    "torchvision",
    "numpy",
    "threads",
    "processes",
    "execution",
    "data",
)


def compare_text(ours: Side, theirs: Side) -> str:
    """Compare two files of records of one experiment.

    Args:
        ours: The experiment as the first file has it, and that file.
        theirs: Likewise the second.
    """
    results = [assign(plan, read_archive(path).results)[0] for plan, path in (ours, theirs)]
    first, second = (
        sort_all(plan, each) for (plan, _), each in zip((ours, theirs), results, strict=True)
    )
    margin = ours[0].paper.margin
    names = [name for name in first if first[name].runs and second[name].runs]
    lines = [
        _line(first[name], second[name], _spread(first, second, name), margin) for name in names
    ]
    header = ["row", "first", "second", "second less first", "verdict", "same weights"]
    alone = [
        f"{name}: in the {which} only"
        for name in first
        for which, here, there in (("first", first, second), ("second", second, first))
        if here[name].runs and not there[name].runs
    ]
    parts = [
        f"{ours[0].name}: {ours[1].parent} and {theirs[1].parent}",
        markdown(header, lines) if lines else "They have no row in common.",
        "\n".join(alone),
        "\n".join(f"- {each}" for each in _different(ours[0], theirs[0], *results)),
        f"Test error in %. Verdict by the 95 % interval of the difference of expected errors (in "
        f"brackets): same if within {margin:g} points, else higher or lower if it leaves out zero.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _spread(first: dict[str, Outcome], second: dict[str, Outcome], name: str) -> Spread | None:
    """Return the spread between runs that the rows of both tables have in common."""
    data = first[name].data
    groups = [o.values("test") for each in (first, second) for o in each.values() if o.data == data]
    return statistics.pool(groups)


def _line(ours: Outcome, theirs: Outcome, spread: Spread | None, margin: float) -> list[str]:
    weights = [{run.weights for run in side.runs} - {None} for side in (ours, theirs)]
    same = f"{len(weights[0] & weights[1])} of {len(ours.runs)}"
    name, texts = ours.row.name, [_text(ours), _text(theirs)]
    first, second = ours.values("test"), theirs.values("test")
    if ours.failed or theirs.failed:
        return [name, *texts, "", "not compared: some failed", same]
    spread = spread_between(second, first, spread)
    if weights[0] == weights[1] and len(first) == len(second) == len(weights[0]):
        return [name, *texts, "+0.00", "identical", same]
    if spread is None:
        return [name, *texts, "", f"undecided: {NO_SPREAD}", same]
    interval = statistics.between(second, first, spread)
    word = "undecided"
    if interval.within(margin):
        word = "same"
    elif interval.excludes_zero:
        word = "higher" if interval.low > 0 else "lower"
    return [name, *texts, f"{interval.difference:+.2f} {interval_text(interval)}", word, same]


def _text(outcome: Outcome) -> str:
    errors = outcome.values("test")
    text = f"{cell_text(aggregate(errors, PaperValues()))} ({len(errors)})" if errors else ""
    failed = f"{len(outcome.failed)} of {len(outcome.runs)} fail" if outcome.failed else ""
    return ", ".join(filter(None, [text.replace("+-", "±"), failed]))


def _different(
    ours: Plan, theirs: Plan, first: dict[str, list[Result]], second: dict[str, list[Result]]
) -> list[str]:
    """Return the settings, versions and machines that differ, a line each."""
    return _different_settings(ours, theirs) + _different_sessions(
        [r for each in first.values() for r in each], [r for each in second.values() for r in each]
    )


def _different_settings(ours: Plan, theirs: Plan) -> list[str]:
    found: dict[str, list[str]] = {}
    both = [(a, b) for a, b in zip(ours.rows, theirs.rows, strict=True) if a.config and b.config]
    for row, other in both:
        first, second = _settings(row), _settings(other)
        for key in sorted(first.keys() | second.keys()):
            if first.get(key) != second.get(key):
                text = f"{key}: {first.get(key)} and {second.get(key)}"
                found.setdefault(text, []).append(row.name)
    return [
        text if len(names) == len(both) else f"{text} ({', '.join(names)})"
        for text, names in found.items()
    ]


def _settings(row: Row) -> dict[str, Any]:
    assert row.config is not None
    return row.config.identity(defaults=True) | {"evaluation": row.protocol}


def _different_sessions(first: Iterable[Result], second: Iterable[Result]) -> list[str]:
    sides = [[s for result in each for s in result.sessions] for each in (first, second)]
    facts = [[_facts(session) for session in side] for side in sides]
    lines = []
    for name in FACTS:
        found = [", ".join(sorted({each[name] for each in side})) for side in facts]
        if found[0] != found[1]:
            lines.append(f"{name}: {found[0]} and {found[1]}")
    return lines


def _facts(session: dict[str, Any]) -> dict[str, str]:
    said = {"resnet-repro": code(session), "machine": machine(session)}
    return {name: said.get(name) or str(session.get(name, "unknown")) for name in FACTS}
