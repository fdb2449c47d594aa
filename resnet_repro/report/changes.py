"""Differences in settings, versions and machines between two results of one experiment."""

from dataclasses import dataclass
from typing import Any

from resnet_repro.plan import Plan, Row
from resnet_repro.records.archive import Result
from resnet_repro.report.remarks import code, machine

# Facts of a session that are compared.
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


@dataclass(frozen=True)
class DifferentSetting:
    """A setting that differs, with both values and the rows for which it differs."""

    setting: str
    first: Any
    second: Any
    rows: tuple[str, ...]
    all_rows: bool


@dataclass(frozen=True)
class DifferentFact:
    """A version, machine or data set that differs, with the values of all sessions."""

    fact: str
    first: tuple[str, ...]
    second: tuple[str, ...]


def setting_text(each: DifferentSetting) -> str:
    """Return `recipe.momentum: 0.9 and 0.5`, followed by the rows if it is not all of them."""
    text = f"{each.setting}: {each.first} and {each.second}"
    return text if each.all_rows else f"{text} ({', '.join(each.rows)})"


def fact_text(each: DifferentFact) -> str:
    """Return `torch: 2.14.0 and 2.15.0`."""
    return f"{each.fact}: {', '.join(each.first)} and {', '.join(each.second)}"


def different_settings(ours: Plan, theirs: Plan) -> list[DifferentSetting]:
    """Return the settings that differ, with rows that differ in the same way combined."""
    found: dict[str, tuple[str, Any, Any, list[str]]] = {}
    both = [(a, b) for a, b in zip(ours.rows, theirs.rows, strict=True) if a.config and b.config]
    for row, other in both:
        first, second = _settings(row), _settings(other)
        for key in sorted(first.keys() | second.keys()):
            one, another = first.get(key), second.get(key)
            if one != another:
                same = found.setdefault(f"{key}: {one} and {another}", (key, one, another, []))
                same[3].append(row.name)
    return [
        DifferentSetting(key, one, another, tuple(names), len(names) == len(both))
        for key, one, another, names in found.values()
    ]


def _settings(row: Row) -> dict[str, Any]:
    assert row.config is not None
    return row.config.identity(defaults=True) | {"evaluation": row.protocol}


def different_facts(
    first: dict[str, list[Result]], second: dict[str, list[Result]]
) -> list[DifferentFact]:
    """Return the facts that differ between the sessions of two results."""
    sides = [
        [
            _facts(session)
            for results in side.values()
            for each in results
            for session in each.sessions
        ]
        for side in (first, second)
    ]
    found = []
    for name in FACTS:
        values = [tuple(sorted({each[name] for each in side})) for side in sides]
        if values[0] != values[1]:
            found.append(DifferentFact(name, *values))
    return found


def _facts(session: dict[str, Any]) -> dict[str, str]:
    texts = {"resnet-repro": code(session), "machine": machine(session)}
    return {name: texts.get(name) or str(session.get(name, "unknown")) for name in FACTS}
