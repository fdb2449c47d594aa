"""What runs meet only when they start, checked before the first of them trains for hours."""

from collections.abc import Sequence
from pathlib import Path

from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine.device import check_share, num_processes
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.tasks import make_task
from resnet_repro.models.external import check_external
from resnet_repro.plan import Run
from resnet_repro.records.runs import run_folder
from resnet_repro.settings.external_model import ExternalModelConfig
from resnet_repro.settings.run import RunConfig


def check_runs(
    runs: Sequence[Run],
    results: Path,
    group: Group = SINGLE_PROCESS,
    *,
    start_at_once: bool = True,
) -> None:
    """Check that this machine has what runs need: data, device, precision, packages.

    Args:
        runs: The runs that are to be trained or tested.
        results: The output root.
        group: The processes that train them.
        start_at_once: Whether the first of them starts now. Then it checks this itself, for all
            that have the same needs.

    Raises:
        UserError: Something is missing, or wrong for one of the runs.
    """
    for run in runs:
        if isinstance(run.config.model, ExternalModelConfig):
            check_external(run.config.model)
        if group.size > 1:
            check_share(run.config, group.size)
        else:
            num_processes(run.config)
    different = {_needs(run.config): run for run in runs}
    for run in different.values() if len(different) > 1 or not start_at_once else []:
        execution = choose_execution(run.config, group)
        make_task(run, run_folder(run, results), execution, group, None).load()


def _needs(config: RunConfig) -> str:
    """Return what a run needs of the machine, as `choose_execution` and a task's `load` read it."""
    return repr((config.data, config.compute, config.recipe.precision, config.detector.step))
