"""The verbs of the command line: functions of a composed configuration.

Only verbs that need torch import it, so that `--help` and `table` are quick.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from resnet_repro.cli.collect import collect
from resnet_repro.cli.compare import compare
from resnet_repro.cli.compose import (
    asked_plan,
    every_plan,
    every_recorded_plan,
    options,
    recorded_plan,
    shipped_plan,
)
from resnet_repro.cli.output import emit, emit_table
from resnet_repro.cli.selection import OF_PLANS
from resnet_repro.cli.work import (
    bench,
    check_plan,
    check_run,
    evaluate,
    import_weights,
    run,
    submit,
)
from resnet_repro.errors import UserError
from resnet_repro.files import READ_ONLY, write_atomically
from resnet_repro.launch.clusters import Cluster, cluster_named
from resnet_repro.plan import PUBLISHED, Plan
from resnet_repro.report.status import Status, asked_states, find_status
from resnet_repro.report.status_text import status_text
from resnet_repro.settings.mistakes import MISTAKES, explain
from resnet_repro.settings.sweep import typed
from resnet_repro.visible import visible

logger = logging.getLogger("resnet_repro")


def table(config: DictConfig) -> int:
    """Print the table of recorded results, and write it again."""
    emit_table(asked_plan(config), config.format)
    return 0


def list_experiments(config: DictConfig) -> int:
    """Print the list of experiments with their progress."""
    from resnet_repro.report.status import experiments_text, overview

    plans, broken = every_plan(config.results)
    emit(config.format, overview(plans), experiments_text)
    print("".join(f"{line}\n" for line in broken), end="")
    return 0


def report(config: DictConfig) -> int:
    """Write the HTML page of all experiments with records, with the settings of the records."""
    from resnet_repro.report.page.page import PAGE_FILE, make_page

    plans, broken = every_recorded_plan(config.results)
    page = make_page(plans, options("experiment"))
    print(visible("".join(f"{line}\n" for line in broken)), end="", file=sys.stderr)
    if page is None:
        published = Path(config.results) / PUBLISHED
        raise UserError(
            f"nothing is recorded in {config.results}: `resnet-repro experiment=NAME` runs one"
            + f"; `report results={published}` shows what is published" * published.is_dir()
        )
    path = Path(config.results) / PAGE_FILE
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
    """Print the cost of every run; train nothing."""
    from resnet_repro.cost.budget import parse_budget
    from resnet_repro.cost.table import cost_text, plan_cost

    budget = None if config.budget is None else parse_budget(config.budget)
    emit(config.format, plan_cost(asked_plan(config), budget), cost_text)
    return 0


def verify(config: DictConfig) -> int:
    """Check layers, parameters and multiply-adds against the paper's; return 1 if they differ.

    With folders, check that the tables in them match their records.
    """
    if config.folders:
        return _verify_tables([Path(folder) for folder in config.folders], config.format)
    from resnet_repro.cost.check_counts import check_networks, networks_text

    if HydraConfig.get().runtime.choices["experiment"] is None:
        for word in typed(HydraConfig.get().overrides.task):
            if word.split("=")[0].split(".")[0].lstrip("+~") in OF_PLANS:
                raise UserError(f"{word} is for one experiment: add experiment=NAME")
        plans = [shipped_plan(name) for name in options("experiment")]
    else:
        plans = [asked_plan(config)]
    found = [check_networks(each) for each in plans]
    emit(config.format, found, lambda each: "\n\n".join(map(networks_text, each)))
    return 0 if all(each.right for each in found) else 1


def _verify_tables(folders: list[Path], kind: str) -> int:
    from resnet_repro.records.find_archives import find_archives
    from resnet_repro.report.check_tables import check_table, check_text, same_weights

    right, paths = True, [path for folder in folders for path in find_archives(folder)]
    read = []
    for path in paths:
        try:
            checked = check_table(recorded_plan(path), path)
        except MISTAKES as error:
            print(visible(f"not checked: {explain(error, [])}"), file=sys.stderr)
            right = False
            continue
        read.append(path)
        right = right and checked.right
        emit(kind, [checked], lambda each: check_text(*each))
    copied = same_weights(read)
    print("".join(f"{each}\n" for each in copied), end="")
    return 0 if right and not copied else 1


def explain_cells(config: DictConfig) -> int:
    """Print where the numbers of the selected rows come from."""
    from resnet_repro.report.explain import explain_rows
    from resnet_repro.report.explain_text import explain_text

    emit(config.format, explain_rows(asked_plan(config)), explain_text)
    return 0


def status(config: DictConfig) -> int:
    """Print the progress of each run."""
    from resnet_repro.report.published import published_text

    plan, states = asked_plan(config), asked_states(config.state)
    emit(config.format, _status(plan, states), lambda each: status_text(each, states))
    if text := published_text(plan):
        print(f"\n{text}", file=sys.stderr)
    return 0


def _status(plan: Plan, states: Sequence[str]) -> Status:
    cluster = _cluster()
    try:
        jobs = cluster.find_jobs(plan.results)
        return find_status(plan, jobs, partial(cluster.why_ended, plan.results), states)
    except UserError as error:  # how far the runs are is known without it
        logger.warning("%s", error)
        return find_status(plan, {}, None, states)


def _cluster() -> Cluster:
    return cluster_named(HydraConfig.get().runtime.choices["cluster"])


def cancel(config: DictConfig) -> int:
    """Take the jobs of the asked runs out of the queue, and end those that run."""
    plan, states = asked_plan(config), asked_states(config.state)
    cluster = _cluster()
    selected = {run.digest for run in plan.runs} | {each.digest for each in plan.ensembles}
    digests = selected
    if states:
        found = find_status(plan, cluster.find_jobs(plan.results), None, states)
        wanted = {each.id for each in found.runs}
        digests = {run.digest for run in plan.runs if run.id in wanted}
    for line in cluster.cancel(plan.results, digests, selected):
        print(line, flush=True)
    return 0


def logs(config: DictConfig) -> int:
    """Print the ends of the logs of runs: by their ids, or of an experiment's selected runs."""
    from resnet_repro.report.logs import logs_text, named_run

    results = Path(config.results)
    if config.folders:
        folders = [named_run(each, results) for each in config.folders]
    elif HydraConfig.get().runtime.choices["experiment"] is None:
        raise UserError(
            "which run? Type logs RUN, with the beginning of an id, or logs experiment=NAME"
        )
    else:
        states = asked_states(config.state)
        found = _status(asked_plan(config), states)
        folders = [each.folder for each in found.runs]
        if not folders:
            print(status_text(found, states))
            return 0
    print(logs_text(folders, partial(_cluster().find_logs, results)))
    return 0


Verb: TypeAlias = Callable[[DictConfig], int]
VERBS: dict[str, Verb] = {
    "run": run,
    "list": list_experiments,
    "plan": plan,
    "verify": verify,
    "submit": submit,
    "table": table,
    "report": report,
    "explain": explain_cells,
    "compare": compare,
    "collect": collect,
    "status": status,
    "cancel": cancel,
    "logs": logs,
    "evaluate": evaluate,
    "import": import_weights,
    "bench": bench,
}
# What is checked of each experiment, where a command names several.
CHECKS: dict[str, Verb] = {
    "run": check_run,
    **dict.fromkeys(("submit", "evaluate", "bench"), check_plan),
}
# Verbs in which several processes work together; the others run in the first process only.
DISTRIBUTED = ("run", "evaluate", "import")
# Verbs that write results; they refuse to write to the published ones.
WRITING = (*DISTRIBUTED, "submit", "collect", "bench")
# Verbs with `state=`.
BY_STATE = ("status", "cancel", "logs")
# Verbs with `budget=`.
WITH_BUDGET = ("run", "plan")
