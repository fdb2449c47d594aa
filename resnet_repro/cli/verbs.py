"""What each verb of the command line does with a composed configuration.

Imports of torch stay inside the verbs that need it: `--help` and `table` must not wait for it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from resnet_repro.cli.answers import answer
from resnet_repro.cli.compose import (
    asked_plan,
    every_plan,
    every_recorded_plan,
    options,
    recorded_plan,
    shipped_plan,
)
from resnet_repro.distributed.peers import meet
from resnet_repro.distributed.started import is_silent, started_by_others
from resnet_repro.errors import UserError
from resnet_repro.files import READ_ONLY, write_atomically
from resnet_repro.plan import PUBLISHED, Plan
from resnet_repro.records.runs import look
from resnet_repro.settings.cluster import ClusterConfig
from resnet_repro.settings.words import without
from resnet_repro.visible import visible

logger = logging.getLogger("resnet_repro")


def run(config: DictConfig) -> int:
    """Train what is missing, then write the table and the curves."""
    from resnet_repro.text import count

    plan = asked_plan(config)
    if config.budget is not None:
        plan = _within(plan, config.budget)
    found = {run.id: look(run, plan.results) for run in plan.runs}
    todo = [run for run in plan.runs if not found[run.id].is_done]
    to_train = sum(not found[run.id].is_trained for run in todo)
    to_test = len(todo) - to_train
    more = f", {to_test} more to test" if to_test else ""
    _say(f"{plan.name}: {count(len(plan.runs), 'run')}, {to_train} to train{more}")
    complete = True
    if todo or plan.ensembles:
        from resnet_repro.launch.local import run_all

        with meet() as group:
            complete = run_all(plan, todo, group)
    _answer_table(plan, config.format)
    return 0 if complete else 1


def _within(plan: Plan, budget: str) -> Plan:
    """Return the runs that settle the most claims in a given time, and say which they are."""
    from resnet_repro.cost.budget import budget_text, choose_runs, parse_budget
    from resnet_repro.cost.estimates import Estimates

    seconds = parse_budget(budget)
    if started_by_others():  # each would time for itself, and choose other runs
        raise UserError("budget= is for one process: `plan` with it says which row= and seeds=")
    plan, spent = choose_runs(plan, seconds, Estimates(plan))
    _say(f"{budget_text(spent)}\n")
    return plan


def evaluate(config: DictConfig) -> int:
    """Test finished networks by another protocol, then print the table."""
    from resnet_repro.launch.local import run_all

    plan = asked_plan(config)
    found = {run.id: look(run, plan.results) for run in plan.runs}
    unfinished = [id for id, each in found.items() if not each.is_trained]
    if len(unfinished) == len(found):
        raise UserError(
            f"no run of {plan.name} with these settings is finished here; the same line without "
            f"`evaluate` trains them"
        )
    if unfinished:
        _say(f"not finished, not tested: {', '.join(unfinished)}")
    with meet() as group:
        complete = run_all(plan, [r for r in plan.runs if found[r.id].state == "trained"], group)
    _answer_table(plan, config.format)
    return 0 if complete and not unfinished else 1


def import_weights(config: DictConfig) -> int:
    """Test published weights; `weights=FILE` in torchvision's names."""
    from resnet_repro.launch.local import evaluate_imported
    from resnet_repro.report.imported import find_imported, imported_text

    if not config.weights:
        raise UserError("which weights? Say weights=FILE, a torchvision ResNet's or ResNeXt's .pth")
    results = Path(config.results)
    with meet() as group:
        evaluate_imported(Path(config.weights), config, results, group)
    if not is_silent():
        answer(config.format, find_imported(results), imported_text)
    return 0


def _say(text: str) -> None:
    if not is_silent():
        print(text, flush=True)


def submit(config: DictConfig) -> int:
    """Submit what is missing as an array of SLURM jobs, and return."""
    from resnet_repro.launch.clusters import cluster_named

    if HydraConfig.get().mode is RunMode.MULTIRUN:
        raise UserError("submit makes an array of an experiment's runs by itself: leave out -m")
    cluster = OmegaConf.to_object(config.cluster)
    assert isinstance(cluster, ClusterConfig)
    words = without(sys.argv[1:], ("mode", "row", "seeds", "cluster"))
    name = HydraConfig.get().runtime.choices["cluster"]
    for line in cluster_named(name).submit(asked_plan(config), cluster, words):
        print(line, flush=True)
    return 0


def table(config: DictConfig) -> int:
    """Print the table from what is recorded, and write it anew."""
    _answer_table(asked_plan(config), config.format)
    return 0


def _answer_table(plan: Plan, kind: str) -> None:
    from resnet_repro.report.published import published_text
    from resnet_repro.report.render import render
    from resnet_repro.report.write import write_report

    if is_silent():
        return
    made, pictures = write_report(plan)
    answer(kind, made, lambda table: render(table, kind).removesuffix("\n"))
    others = sorted(plan.results.glob(f"{plan.name}/changed-*/table.md"))
    if others and not made.is_changed and not any(line.runs for line in made.lines):
        print(f"\nRecorded with changed settings: {', '.join(map(str, others))}", file=sys.stderr)
    if text := published_text(plan):
        print(f"\n{text}", file=sys.stderr)
    if pictures:  # not to stdout: `table format=json` is for other programs to read
        files = [plan.folder / "table.md", *pictures]
        print("\n".join(["", "Written:", *(f"  {file}" for file in files)]), file=sys.stderr)


def list_experiments(config: DictConfig) -> int:
    """Print every experiment: where it is printed, its rows, its runs, what is done."""
    from resnet_repro.report.status import experiments_text, overview

    plans, broken = every_plan(config.results)
    answer(config.format, overview(plans), experiments_text)
    print("".join(f"{line}\n" for line in broken), end="")
    return 0


def report(config: DictConfig) -> int:
    """Write a page of all experiments that have records, as they were recorded."""
    from resnet_repro.report.page.page import NAME, make_page

    plans, broken = every_recorded_plan(config.results)
    page = make_page(plans)
    print(visible("".join(f"{line}\n" for line in broken)), end="", file=sys.stderr)
    if page is None:
        published = Path(config.results) / PUBLISHED
        raise UserError(
            f"nothing is recorded in {config.results}: `resnet-repro experiment=NAME` runs one"
            + f"; `report results={published}` shows what is published" * published.is_dir()
        )
    path = Path(config.results) / NAME
    try:
        write_atomically(path, page)
        print(path)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        why = f"nothing was written: {path}: {error.strerror}"
        if sys.stdout.isatty():
            raise UserError(f"{why}. Add > report.html to write it here") from error
        print(f"{why}; printed instead", file=sys.stderr)
        print(page)
    return 1 if broken else 0


def plan(config: DictConfig) -> int:
    """Print every run and what it costs; train nothing."""
    from resnet_repro.cost.budget import parse_budget
    from resnet_repro.cost.table import cost_text, plan_cost

    budget = None if config.budget is None else parse_budget(config.budget)
    answer(config.format, plan_cost(asked_plan(config), budget), cost_text)
    return 0


def verify(config: DictConfig) -> int:
    """Print layers, parameters and multiply-adds against the paper's; 1 where they differ.

    With folders: whether the tables in them are what their records give.
    """
    if config.folders:
        return _verify_tables([Path(folder) for folder in config.folders], config.format)
    from resnet_repro.cost.networks import check_networks, networks_text

    if HydraConfig.get().runtime.choices["experiment"] is None:
        plans = [shipped_plan(name) for name in options("experiment")]
    else:
        plans = [asked_plan(config)]
    found = [check_networks(each) for each in plans]
    answer(config.format, found, lambda each: "\n\n".join(map(networks_text, each)))
    return 0 if all(each.right for each in found) else 1


def _verify_tables(folders: list[Path], kind: str) -> int:
    from resnet_repro.records.archives import find_archives
    from resnet_repro.report.verify import check_table, check_text, same_weights

    right, paths = True, [path for folder in folders for path in find_archives(folder)]
    for path in paths:
        checked = check_table(recorded_plan(path), path)
        right = right and checked.right
        answer(kind, [checked], lambda each: check_text(*each))
    copied = same_weights(paths)
    print("".join(f"{each}\n" for each in copied), end="")
    return 0 if right and not copied else 1


def compare(config: DictConfig) -> int:
    """Print two results side by side, row by row."""
    from resnet_repro.records.archives import find_archives, pair_archives
    from resnet_repro.report.compare import compare_results, compare_text

    if len(config.folders) != 2:
        raise UserError("which two? Say compare DIR DIR, folders of results")
    ours, theirs = (find_archives(Path(folder)) for folder in config.folders)
    for one, other in pair_archives(ours, theirs):
        found = compare_results((recorded_plan(one), one), (recorded_plan(other), other))
        answer(config.format, [found], lambda each: compare_text(*each))
    return 0


def explain_cells(config: DictConfig) -> int:
    """Print where the cells of the selected rows come from."""
    from resnet_repro.report.explain import explain_rows
    from resnet_repro.report.explained import explain_text

    answer(config.format, explain_rows(asked_plan(config)), explain_text)
    return 0


def status(config: DictConfig) -> int:
    """Print how far each run is."""
    from resnet_repro.launch.clusters import cluster_named
    from resnet_repro.report.published import published_text
    from resnet_repro.report.status import find_status, status_text

    plan = asked_plan(config)
    cluster = cluster_named(HydraConfig.get().runtime.choices["cluster"])
    try:
        jobs = cluster.find_jobs(plan.results)
    except UserError as error:  # how far the runs are is known without it
        logger.warning("%s", error)
        jobs = {}
    answer(config.format, find_status(plan, jobs), status_text)
    if text := published_text(plan):
        print(f"\n{text}", file=sys.stderr)
    return 0


def bench(config: DictConfig) -> int:
    """Print how fast each way to train is here, beside the usual loop and the chip's floor."""
    from resnet_repro.bench.report import bench as measure
    from resnet_repro.bench.report import render

    made = asked_plan(config)
    rows = [row for row in made.rows if row.name in made.selected and row.config]
    measured = measure(
        " ".join([made.name, *made.changes]), rows, Path(config.results) / "benchmarks"
    )
    answer(config.format, measured, render)
    return 0


VERBS: dict[str, Callable[[DictConfig], int]] = {
    "run": run,
    "list": list_experiments,
    "plan": plan,
    "verify": verify,
    "submit": submit,
    "table": table,
    "report": report,
    "explain": explain_cells,
    "compare": compare,
    "status": status,
    "evaluate": evaluate,
    "import": import_weights,
    "bench": bench,
}
# Those in which several processes do one piece of work; in all others the first is enough.
TOGETHER = ("run", "evaluate", "import")
# Those that write results; what is published is only read by them.
RUNNING = (*TOGETHER, "submit", "bench")
# Those that choose runs by `budget=`.
BUDGETED = ("run", "plan")
