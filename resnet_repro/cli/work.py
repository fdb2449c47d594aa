"""The verbs that train, test, submit and time.

They import torch when they are called, so that `--help` and `table` are quick.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from resnet_repro.cli.compose import asked_plan
from resnet_repro.cli.confirm import confirmed_plan
from resnet_repro.cli.output import emit, emit_table
from resnet_repro.distributed.joined import joined_group
from resnet_repro.distributed.started import is_silent, started_by_others
from resnet_repro.errors import UserError
from resnet_repro.launch.clusters import leaves_table
from resnet_repro.plan import Plan, Row
from resnet_repro.records.runs import run_state
from resnet_repro.settings.cluster import ClusterConfig
from resnet_repro.settings.sweep import typed
from resnet_repro.settings.words import without

# Settings and selections that no test of published weights reads.
OF_TRAININGS = ("model", "detector", "steps", "every_step", "row", "seeds", "sweep", "baseline")


def run(config: DictConfig) -> int:
    """Train what is missing, then write the table and the pictures."""
    from resnet_repro.text import count

    asked = plan = confirmed_plan(config)
    if plan.sweep and plan.sweep.is_of_speed:
        return _compare_speeds(plan, config.format)
    if config.budget is not None:
        plan = _within(plan, config.budget)
    found = {run.id: run_state(run, plan.results) for run in plan.runs}
    todo = [run for run in plan.runs if not found[run.id].is_done]
    to_train = sum(not found[run.id].is_trained for run in todo)
    to_test = len(todo) - to_train
    more = f", {to_test} more to test" if to_test else ""
    _print_once(f"{plan.name}: {count(len(plan.runs), 'run')}, {to_train} to train{more}")
    complete = True
    if todo or plan.ensembles or started_by_others():  # all processes join, or none
        from resnet_repro.launch.local import run_all

        with joined_group(on_gpus=_is_on_gpus(plan)) as group:
            complete = run_all(plan, todo, group)
    if asked.sweep and not asked.sweep.name:  # other values may have been recorded meanwhile
        asked = asked_plan(config)
    _end_with_table(asked, config.format)  # of all, also where a budget left some of it out
    return 0 if complete else 1


def _end_with_table(plan: Plan, kind: str) -> None:
    """Write the table, unless this is one of several jobs of which the last one does."""
    if leaves_table():
        _print_once(f"{plan.name}: a job after all others writes the table; so does `table`")
    else:
        emit_table(plan, kind)


def check_plan(config: DictConfig) -> int:
    """Check that an experiment can be planned as asked."""
    confirmed_plan(config)
    return 0


def check_run(config: DictConfig) -> int:
    """Check that `run` has what the missing runs need; not where others chose the devices."""
    plan = confirmed_plan(config)
    is_of_speed = plan.sweep is not None and plan.sweep.is_of_speed
    if not (is_of_speed or config.budget or started_by_others()):
        from resnet_repro.launch.checks import check_runs

        todo = [run for run in plan.runs if not run_state(run, plan.results).is_done]
        check_runs(todo, plan.results, start_at_once=False)
    return 0


def _within(plan: Plan, budget: str) -> Plan:
    """Return the plan narrowed to the runs chosen for a budget, and print which they are."""
    from resnet_repro.cost.budget import budget_text, choose_runs, parse_budget
    from resnet_repro.cost.estimates import Estimates

    seconds = parse_budget(budget)
    if started_by_others():  # each process would measure other times and choose other runs
        raise UserError(
            "budget= needs a single process; run `plan` with it to see which row= and seeds= to set"
        )
    plan, spent = choose_runs(plan, seconds, Estimates(plan))
    _print_once(f"{budget_text(spent)}\n")
    return plan


def evaluate(config: DictConfig) -> int:
    """Test finished runs with another protocol, then print the table."""
    from resnet_repro.launch.local import run_all

    plan = asked_plan(config)
    found = {run.id: run_state(run, plan.results) for run in plan.runs}
    unfinished = [id for id, each in found.items() if not each.is_trained]
    if len(unfinished) == len(found):
        raise UserError(
            f"no run of {plan.name} with these settings is finished here; run the same command "
            f"without `evaluate` to train them"
        )
    if unfinished:
        _print_once(f"not tested, as they are not finished: {', '.join(unfinished)}")
    with joined_group(on_gpus=_is_on_gpus(plan)) as group:
        complete = run_all(plan, [r for r in plan.runs if found[r.id].state == "trained"], group)
    _end_with_table(plan, config.format)
    return 0 if complete and not unfinished else 1


def import_weights(config: DictConfig) -> int:
    """Test published weights, `weights=FILE`, with torchvision's parameter names."""
    from resnet_repro.launch.local import evaluate_imported
    from resnet_repro.report.imported import find_imported, imported_text

    if not config.weights:
        raise UserError(
            "import needs weights=FILE, the .pth of a torchvision ResNet, ResNeXt or VGG-16"
        )
    for word in typed(HydraConfig.get().overrides.task):
        key = word.lstrip("+").partition("=")[0]
        section, _, field = key.partition(".")
        if section in OF_TRAININGS or (section == "recipe" and field not in ("", "precision")):
            raise UserError(
                f"{word}: import tests the network that the file is of, as torchvision defines it, "
                f"and trains nothing: leave {key} out"
            )
    results = Path(config.results)
    with joined_group(on_gpus=config.compute.device != "cpu") as group:
        evaluate_imported(Path(config.weights), config, results, group)
    if not is_silent():
        emit(config.format, find_imported(results), imported_text)
    return 0


def _is_on_gpus(plan: Plan) -> bool:
    """Return whether a run of a plan may use GPUs."""
    runs = [*plan.runs, *(run for each in plan.ensembles for run in each.needs)]
    return any(run.config.compute.device != "cpu" for run in runs)


def _print_once(text: str) -> None:
    if not is_silent():
        print(text, flush=True)


def _check_timed(rows: Sequence[Row]) -> None:
    """Raise a UserError where a row is no classifier that is trained."""
    if not any(row.config for row in rows):
        raise UserError("an ensemble is not trained itself: select the rows of its members")
    for row in rows:
        if row.config and row.config.detector.is_used:
            raise UserError(
                f"{row.name} is a detector: speeds of classifiers are compared here; "
                f"scripts/benchmark_detection times detectors"
            )


def _compare_speeds(plan: Plan, kind: str) -> int:
    from resnet_repro.bench.speeds import compare_speeds, speeds_text

    _check_timed(plan.selected_rows)
    if kind not in ("md", "json"):
        raise UserError(f"format={kind}: a comparison of speeds supports md or json")
    emit(kind, compare_speeds(plan), speeds_text)
    return 0


def submit(config: DictConfig) -> int:
    """Submit the missing runs as an array of SLURM jobs, without waiting for them."""
    from resnet_repro.launch.clusters import cluster_named

    if HydraConfig.get().mode is RunMode.MULTIRUN:
        raise UserError("submit queues all runs of an experiment by itself: leave out -m")
    cluster = OmegaConf.to_object(config.cluster)
    assert isinstance(cluster, ClusterConfig)
    words = without(typed(sys.argv[1:]), ("mode", "cluster"))
    name = HydraConfig.get().runtime.choices["cluster"]
    for line in cluster_named(name).submit(confirmed_plan(config), cluster, words):
        print(line, flush=True)
    return 0


def bench(config: DictConfig) -> int:
    """Time a conventional training loop, ours with each option, and the hardware's lower bound."""
    from resnet_repro.bench.report import bench as measure
    from resnet_repro.bench.report import render

    made = asked_plan(config)
    if made.sweep and made.sweep.is_of_speed:
        return _compare_speeds(made, config.format)
    _check_timed(made.selected_rows)
    rows = [row for row in made.selected_rows if row.config]
    given = {word.lstrip("+").partition("=")[0] for word in made.changes}
    swept = made.sweep.keys if made.sweep else ()
    measured = measure(
        " ".join([made.name, *made.changes]),
        rows,
        Path(config.results) / "benchmarks",
        own_precision="recipe.precision" in {*given, *swept},
    )
    emit(config.format, measured, render)
    return 0
