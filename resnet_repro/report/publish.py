"""Merging of local results into the published ones; nothing is replaced or lost unless asked for.

`scripts/publish` is its command line.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.files import write_atomically
from resnet_repro.plan import Plan
from resnet_repro.records.archive import RECORDS_FILE, Result, read_archive, write_archive
from resnet_repro.records.headline import headline
from resnet_repro.records.results import assign, public_command, unite
from resnet_repro.report.tables import build_table
from resnet_repro.report.write import write_table

# Matches absolute paths and paths in a home folder, but not `224/256`, `./out`, `23.85 / 7.13` or
# a web address.
MACHINE_PATH = re.compile(r"""(?<![\w./:~\])}])(?:~\w*)?/[\w.][^\s'"\])},]*""")


def without_paths(value: Any) -> Any:  # noqa: ANN401
    """Return a JSON value with `PATH` in place of every path of this machine."""
    if isinstance(value, dict):
        return {
            key: without_paths(public_command(each) if key == "command" else each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    return MACHINE_PATH.sub("PATH", value) if isinstance(value, str) else value


def publish(plan: Plan, source: Path, *, replaces: bool) -> list[str]:
    """Add the results of a file of records to the published ones, and render the table again.

    Args:
        plan: The experiment with the published results as its output root.
        source: The file of records.
        replaces: Whether a result replaces a different one that is published for the same run.

    Returns:
        One line for each run that is new or differs, which says what was done.
    """
    before = _published(plan)
    results, lines = dict(before), []
    for made in read_archive(source).results.values():
        if not made.ended:
            continue
        new = Result(**without_paths(asdict(made)))
        results[made.id], messages = _merge(new, results.get(made.id), replaces=replaces)
        lines += messages
    if results != before:  # otherwise keep the pictures, which another machine may have drawn
        _write(plan, results)
    return lines


def render_again(plan: Plan) -> None:
    """Render the published table and its pictures from its records."""
    _write(plan, _published(plan))


def _published(plan: Plan) -> dict[str, Result]:
    path = plan.folder / RECORDS_FILE
    return read_archive(path).results if path.is_file() else {}


def _write(plan: Plan, merged: dict[str, Result]) -> None:
    results, others = assign(plan, merged)
    write_archive(plan, [*(result for each in results.values() for result in each), *others])
    write_table(plan, build_table(plan, results, others), results)


def _merge(new: Result, old: Result | None, *, replaces: bool) -> tuple[Result, list[str]]:
    """Return the result of a run to publish, and messages about what was done."""
    if old is None:
        return new, [f"added: {new.id}"]
    united = unite(new, old)
    if united is None and not replaces:
        return old, [
            f"kept: {new.id}, published with {_about(old)}; the local result has {_about(new)} "
            f"(--replace publishes it)"
        ]
    if united is None:
        return new, [f"replaced: {new.id}, {_about(old)}, with {_about(new)}"]
    return united, [] if united == old else [f"completed: {new.id}"]


def _about(result: Result) -> str:
    tests = [
        f"{value:.2f} % by {key}"
        for key, each in result.evaluations.items()
        if (value := headline(each)[1]) is not None
    ]
    return f"{', '.join(tests) or result.state} (weights {str(result.weights)[:8]})"


def publish_benchmarks(source: Path, target: Path, *, replaces: bool) -> list[str]:
    """Add local measurements of `bench` and the benchmark scripts to the published ones.

    Args:
        source: Folder of the local measurements.
        target: Folder of the published measurements.
        replaces: Whether a measurement replaces a published one of the same kind.

    Returns:
        One line for each file or measurement that is new, which says what was done.

    Raises:
        UserError: A file cannot be read.
    """
    from resnet_repro.bench import report as bench  # imports torch

    target.mkdir(parents=True, exist_ok=True)
    lines = []
    for path in sorted(source.glob("*.json")):
        there = target / path.name
        if not path.name.startswith(bench.TRAINING):
            lines += _publish_file(path, there, replaces=replaces)
            continue
        for made in without_paths(bench.read(path)):
            before = bench.read(there)
            name = f"{path.name}: {made['experiment']}, measured on {made['date']}"
            is_there = bench.without(before, made) != before
            if made in before:
                continue
            if is_there and not replaces:
                lines.append(f"kept: {name}: its rows are published (--replace replaces them)")
                continue
            bench.add(there, made)
            lines.append(f"{'replaced' if is_there else 'added'}: {name}")
    return lines


def _publish_file(path: Path, there: Path, *, replaces: bool) -> list[str]:
    """Copy one measurement and the text file next to it."""
    content, before = (_read_json(each) if each.is_file() else None for each in (path, there))
    if without_paths(content) == before:
        return []
    if before is not None and not replaces:
        return [f"kept: {there.name}, published on {before['date']} (--replace replaces it)"]
    for kind in (".json", ".md"):
        if path.with_suffix(kind).is_file():
            text = path.with_suffix(kind).read_text(encoding="utf-8")
            write_atomically(there.with_suffix(kind), without_paths(text))
    return [f"{'added' if before is None else 'replaced'}: {there.name}"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: delete it or restore it from a backup") from error
