"""The verb `collect`: results of several machines brought together, or packed for the way."""

import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from resnet_repro.cli.compose import every_recorded_plan
from resnet_repro.cli.output import emit
from resnet_repro.errors import UserError
from resnet_repro.plan import Plan
from resnet_repro.records.collect import collect_results
from resnet_repro.records.collect.line import ACTIONS, Action
from resnet_repro.records.collect.pack import pack
from resnet_repro.records.results import recorded_ids
from resnet_repro.records.runs import recorded_seeds
from resnet_repro.settings.groups import folders
from resnet_repro.settings.sweep import typed
from resnet_repro.settings.words import without
from resnet_repro.visible import visible


@dataclass(frozen=True)
class Collected:
    """What was collected, or packed.

    Attributes:
        into: The output root; the file, where results were packed.
        done: What was done with each run, test and result.
        counts: How many of these there are of each action.
        tables: The commands that render the tables of what is here now.
    """

    into: Path
    done: tuple[Action, ...]
    counts: dict[str, int]
    tables: tuple[str, ...]


def collect(config: DictConfig) -> int:
    """Merge results of other machines into those that are here, or pack these."""
    results, sources = Path(config.results), [Path(folder) for folder in config.folders]
    if sources and config.pack:
        raise UserError("pack=FILE packs what is here: collect the others in a command of its own")
    if not sources and not config.pack:
        raise UserError(
            "which results? Type collect FOLDER..., folders or .tar.gz files of other machines' "
            "results; or collect pack=FILE.tar.gz to pack those that are here"
        )
    into = Path(config.pack) if config.pack else results
    lines = (
        pack(results, into, lambda _: bool(config.with_weights))
        if config.pack
        else collect_results(sources, results, with_weights=config.with_weights)
    )
    done = tuple(_said(lines, aloud=config.format == "md"))
    counts = Counter(line.action for line in done)
    tables: list[str] = []
    if not config.pack:
        plans, broken = every_recorded_plan(config.results)
        tables = [_command(plan, config.results) for plan in plans if _has_results(plan)]
        print(visible("".join(f"{line}\n" for line in broken)), end="", file=sys.stderr)
    found = Collected(into, done, {name: counts[name] for name in ACTIONS}, tuple(tables))
    emit(config.format, found, _summary)
    return 1 if counts["conflict"] or counts["damaged"] else 0


def _said(lines: Iterator[Action], *, aloud: bool) -> Iterator[Action]:
    """Yield what is done, and print it as it is done, source by source."""
    source = None
    for line in lines:
        if aloud and line.source != source:
            print(f"{line.source}:")
            source = line.source
        if aloud:
            print(f"  {line}", flush=True)
        yield line


def _has_results(plan: Plan) -> bool:
    in_folders = (recorded_seeds(row, plan.results) for row in plan.rows if row.config)
    return bool(recorded_ids(plan)) or any(in_folders)


def _command(plan: Plan, results: str) -> str:
    where = [] if results == "results" else [f"results={results}"]
    changes = without(plan.changes, ["seeds"])  # a table has every seed that there is
    words = typed([*changes, *where])
    own = [word for folder in folders(sys.argv)[1:] for word in ("--config-dir", str(folder))]
    return shlex.join(["resnet-repro", "table", *own, f"experiment={plan.name}", *words])


def _summary(found: Collected) -> str:
    counts = [f"{number} {action}" for action, number in found.counts.items() if number]
    text = f"{found.into}: {', '.join(counts) or 'nothing new'}"
    if found.tables:
        text += "".join(["\nTables from it:", *(f"\n  {each}" for each in found.tables)])
    return text
