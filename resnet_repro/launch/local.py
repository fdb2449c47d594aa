"""Runs a plan on this machine: runs in several processes, and runs side by side."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine.device import num_processes
from resnet_repro.engine.evaluate_runs import evaluate_ensemble, finish
from resnet_repro.engine.train import train
from resnet_repro.errors import UserError, shortage
from resnet_repro.launch.checks import check_runs
from resnet_repro.launch.failure import advice_for_test, free_memory, record_failure
from resnet_repro.launch.on_cpu import with_layout, with_processes
from resnet_repro.launch.processes import DeadProcessError, run_in_processes
from resnet_repro.launch.side_by_side import run_side_by_side
from resnet_repro.models.published import describe_torchvision
from resnet_repro.plan import Ensemble, Plan, Run, in_stages
from resnet_repro.records.errors import DamagedError, LockedError, MissingWeightsError
from resnet_repro.records.runs import run_folder, run_state
from resnet_repro.settings.run import RunConfig, parse

logger = logging.getLogger("resnet_repro")


def run_all(plan: Plan, runs: list[Run], group: Group = SINGLE_PROCESS) -> bool:
    """Train and test runs of a plan, and its ensembles; return whether all are done.

    A failed run is recorded and reported, and the other runs continue.

    Args:
        plan: The experiment.
        runs: The runs to train; finished ones are only tested, if necessary.
        group: The processes that torchrun or srun started; in a group of one, each run starts its
            own processes.

    Raises:
        UserError: Wrong settings or missing data, which would stop every run.
        OSError: A full disk or a folder without write permission, which would stop every run.
        StoppedRun: The user asked to stop.
    """
    check_runs(runs, plan.results, group)
    # A file system shows other processes what is done a little later: one decides for all.
    wanted = group.broadcast({run.id for run in runs})
    for stage in in_stages([run for run in plan.runs if run.id in wanted]):
        _run_stage(plan, [run for run in stage if not _waits(plan, run, group)], group)
    complete = all(run_state(run, plan.results).is_done for run in runs)
    return all([complete, *(_test_ensemble(plan, each, group) for each in plan.ensembles)])


def _run_stage(plan: Plan, runs: list[Run], group: Group) -> None:
    """Train and test runs of which none needs another."""
    if group.size == 1:
        runs = with_processes(with_layout(runs, plan.results), plan.results)
    single_process = [r for r in runs if group.size == 1 and num_processes(r.config) == 1]
    by_one = {run.id for run in single_process}
    for run in runs:
        if run.id not in by_one:
            _run_one(plan, run, group)
    # Rows may share a network and differ in the test: train it once, then run the other tests.
    first = {run.digest: run for run in reversed(single_process)}
    again = [run for run in single_process if first[run.digest] is not run]
    for each in (list(first.values())[::-1], again):
        run_side_by_side([(run, run_folder(run, plan.results)) for run in each])


def train_and_test(run: Run, folder: Path, group: Group) -> None:
    """Train a run and test it by its protocol; finished steps are skipped."""
    train(run, folder, group)
    finish(run, folder, group)


def evaluate_imported(
    path: Path, config: DictConfig, results: Path, group: Group = SINGLE_PROCESS
) -> None:
    """Test published weights with one process per GPU; see `evaluate_file`."""
    from resnet_repro.engine.evaluate_imported import (  # import torchvision
        evaluate_file,
        read_weights,
    )

    network = describe_torchvision(read_weights(path))
    if network.num_classes != config.data.num_classes:
        raise UserError(
            f"{path.name} has {network.num_classes} classes, but {config.data.title} has "
            f"data.num_classes={config.data.num_classes}: test it on photographs of the same "
            f"classes"
        )
    if config.evaluation.batch_norm != "averages":
        raise UserError("published weights can only be tested with evaluation.batch_norm=averages")
    settings = parse(OmegaConf.merge(config, {"model": asdict(network)}))  # type: ignore[arg-type]
    _in_processes(evaluate_file, settings, group, path, settings, results)


def _in_processes(
    work: Callable[..., None],
    config: RunConfig,
    group: Group,
    *args: Any,  # noqa: ANN401
) -> None:
    """Call `work(*args, group)`: here, or in as many processes as the settings ask for.

    The processes of a group of several are there already.
    """
    size = num_processes(config) if group.size == 1 else 1
    if size == 1:
        work(*args, group)
        return
    run_in_processes(work, size, *args, on_gpus=config.compute.device != "cpu")


def _run_one(plan: Plan, run: Run, group: Group) -> None:
    """Execute a run in the processes of a group, or in several started here."""
    folder = run_folder(run, plan.results)
    try:
        if group.size == 1:
            logger.info("%s: %d processes", run.id, num_processes(run.config))
        _in_processes(train_and_test, run.config, group, run, folder)
    except Exception as error:
        record_failure(run, folder, error)
        if group.size > 1 and not isinstance(error, LockedError):  # which all processes raise
            raise  # the other processes are waiting inside the run


def _waits(plan: Plan, work: Run | Ensemble, group: Group) -> bool:
    """Return whether needed runs are not finished, after a warning that names them."""
    missing = group.broadcast(
        [run.id for run in work.needs if not run_state(run, plan.results).is_finished]
    )
    if missing:
        logger.warning("%s needs runs that are not finished: %s", work.id, ", ".join(missing))
    return bool(missing)


def _test_ensemble(plan: Plan, ensemble: Ensemble, group: Group) -> bool:
    if _waits(plan, ensemble, group):
        return False
    folders = [run_folder(run, plan.results) for run in ensemble.needs]
    folder = run_folder(ensemble, plan.results)
    config = ensemble.needs[0].config
    try:
        _in_processes(evaluate_ensemble, config, group, ensemble, folder, folders)
    except (DamagedError, DeadProcessError, MissingWeightsError) as error:
        logger.error("%s: %s", ensemble.row, error)
        return False
    except Exception as error:
        lacks = shortage(error)
        if lacks is None or group.size > 1:
            raise  # in a group, the other processes are waiting inside the test
        logger.debug("%s", error)
        free_memory(error)
        advice = f". {advice_for_test(config, ensemble.evaluation)}"
        logger.error("%s: %s%s", ensemble.row, lacks, advice if lacks.startswith("out of") else "")
        return False
    return True
