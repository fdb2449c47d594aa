"""What was run here, merged into what is published: never less than before without a word.

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
from resnet_repro.records.archive import NAME, Result, read_archive, write_archive
from resnet_repro.records.results import assign, public_command, richer
from resnet_repro.report.tables import build_table
from resnet_repro.report.write import write_table

# An absolute path, or one in a home folder. Not: `224/256`, `./out`, `23.85 / 7.13`, a web address.
MACHINE_PATH = re.compile(r"""(?<![\w./:~\])}])(?:~\w*)?/[\w.][^\s'"\])},]*""")


def without_paths(value: Any) -> Any:  # noqa: ANN401
    """Return what JSON holds with `PATH` in place of the paths of the machine that made it."""
    if isinstance(value, dict):
        return {
            key: without_paths(public_command(each) if key == "command" else each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    return MACHINE_PATH.sub("PATH", value) if isinstance(value, str) else value


def publish(plan: Plan, source: Path, *, replaces: bool) -> list[str]:
    """Add the results of a file of records to those published, and render the table again.

    Args:
        plan: The experiment with its published results as the output root.
        source: The file of records.
        replaces: A result takes the place of another one that is published of the same run.

    Returns:
        What was done with each run that is new here or differs, a line each.
    """
    before = _published(plan)
    results, lines = dict(before), []
    for made in read_archive(source).results.values():
        if not made.ended:
            continue
        new = Result(**without_paths(asdict(made)))
        results[made.id], said = _merge(new, results.get(made.id), replaces=replaces)
        lines += said
    if results != before:  # else the pictures of another machine stay as they are
        _write(plan, results)
    return lines


def render_again(plan: Plan) -> None:
    """Render the published table and its pictures from its records."""
    _write(plan, _published(plan))


def _published(plan: Plan) -> dict[str, Result]:
    path = plan.folder / NAME
    return read_archive(path).results if path.is_file() else {}


def _write(plan: Plan, merged: dict[str, Result]) -> None:
    results, others = assign(plan, merged)
    write_archive(plan, [*(result for each in results.values() for result in each), *others])
    write_table(plan, build_table(plan, results, others), results)


def _merge(new: Result, old: Result | None, *, replaces: bool) -> tuple[Result, list[str]]:
    """Return which result of a run is to be published, and what to say of it."""
    if old is None:
        return new, [f"added: {new.id}"]
    united = _unite(new, old)
    if united is None and not replaces:
        return old, [
            f"kept: {new.id}, published as {_about(old)}; here it is {_about(new)} (--replace "
            f"publishes this one)"
        ]
    if united is None:
        return new, [f"replaced: {new.id}, {_about(old)}, by {_about(new)}"]
    return united, [] if united == old else [f"completed: {new.id}"]


def _unite(new: Result, old: Result) -> Result | None:
    """Return what two records of one training hold together; None where they contradict."""
    both = new.evaluations.keys() & old.evaluations.keys()
    if (new.state, new.weights) != (old.state, old.weights):
        return None
    if any(new.evaluations[key] != old.evaluations[key] for key in both):
        return None
    return richer(old, new)[0]


def _about(result: Result) -> str:
    tests = [
        f"{100 * each['num_errors'] / each['num_images']:.2f} % by {key}"
        for key, each in result.evaluations.items()
        if "num_errors" in each
    ]
    return f"{', '.join(tests) or result.state} (weights {str(result.weights)[:8]})"


def publish_benchmarks(source: Path, target: Path, *, replaces: bool) -> list[str]:
    """Add what `bench` and the scripts measured here to what is published of other machines.

    Args:
        source: Folder of what was measured.
        target: Folder of what is published.
        replaces: A measurement takes the place of another one of the same kind.

    Returns:
        What was done with each file, a line each.

    Raises:
        UserError: A file cannot be read.
    """
    from resnet_repro.bench import report as bench  # which waits for torch

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
                lines.append(f"kept: {name}, has rows that are published (--replace replaces them)")
                continue
            bench.add(there, made)
            lines.append(f"{'replaced' if is_there else 'added'}: {name}")
    return lines


def _publish_file(path: Path, there: Path, *, replaces: bool) -> list[str]:
    """Copy one measurement, and the text beside it."""
    content, before = (_read_json(each) if each.is_file() else None for each in (path, there))
    if without_paths(content) == before:
        return []
    if before is not None and not replaces:
        return [f"kept: {there.name}, published as of {before['date']} (--replace replaces it)"]
    for kind in (".json", ".md"):
        if path.with_suffix(kind).is_file():
            text = path.with_suffix(kind).read_text(encoding="utf-8")
            write_atomically(there.with_suffix(kind), without_paths(text))
    return [f"{'added' if before is None else 'replaced'}: {there.name}"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: delete it, or bring it back from a copy") from error
