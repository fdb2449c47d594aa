"""What differs between several results of one experiment besides their numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnet_repro.plan import Plan
from resnet_repro.plan.rows import flat
from resnet_repro.records.archive import Result
from resnet_repro.report.remarks import code, machine

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
    "decoder",
    "data",
)


@dataclass(frozen=True)
class DifferentSetting:
    """A setting that differs.

    Attributes:
        setting: The setting's key.
        values: The value in each folder that has the rows, by the folder's name.
        rows: Names of the rows of which it differs so.
        all_rows: Whether these are all rows that several of the folders have.
    """

    setting: str
    values: Mapping[str, Any]
    rows: tuple[str, ...]
    all_rows: bool


@dataclass(frozen=True)
class DifferentFact:
    """A version, a machine or data that differ.

    Attributes:
        fact: What it is: a name of `FACTS`.
        values: Those of all sessions of each folder that has results, by the folder's name.
    """

    fact: str
    values: Mapping[str, tuple[str, ...]]


def different_settings(plans: Mapping[str, Plan]) -> list[DifferentSetting]:
    """Return the settings that differ, row by row; the same difference of several rows once.

    Args:
        plans: The experiment as each folder has it, by the folder's name.
    """
    sides: dict[str, dict[str, dict[str, Any]]] = {}  # settings by row and folder
    for folder, plan in plans.items():
        for row in plan.rows:
            if row.config:
                sides.setdefault(row.name, {})[folder] = flat(row.config, row.steps)
    shared = {name: each for name, each in sides.items() if len(each) > 1}
    found: dict[str, tuple[str, dict[str, Any], list[str]]] = {}
    for name, each in shared.items():
        for key in sorted(set[str]().union(*each.values())):
            values = {folder: settings.get(key) for folder, settings in each.items()}
            first, *others = values.values()
            if any(value != first for value in others):
                found.setdefault(f"{key}: {values}", (key, values, []))[2].append(name)
    return [
        DifferentSetting(key, values, tuple(rows), len(rows) == len(shared))
        for key, values, rows in found.values()
    ]


def different_facts(results: Mapping[str, Mapping[str, list[Result]]]) -> list[DifferentFact]:
    """Return what differs of the sessions behind the results.

    Args:
        results: The results by row, by the folder's name.
    """
    sides = {
        folder: [
            _facts(session)
            for each in rows.values()
            for result in each
            for session in result.sessions
        ]
        for folder, rows in results.items()
    }
    found = []
    for name in FACTS:
        values = {
            folder: tuple(sorted({each[name] for each in side})) for folder, side in sides.items()
        }
        if len(set(values.values())) > 1:
            found.append(DifferentFact(name, values))
    return found


def _facts(session: dict[str, Any]) -> dict[str, str]:
    said = {"resnet-repro": code(session), "machine": machine(session)}
    return {name: said.get(name) or str(session.get(name, "unknown")) for name in FACTS}
