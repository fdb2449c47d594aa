"""Testing finished runs of detection or localisation by their protocol: one, or how several."""

import logging
from pathlib import Path

from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.detection.scene_task import SceneTask
from resnet_repro.engine.execution import Execution, choose_execution
from resnet_repro.engine.tasks import make_task
from resnet_repro.errors import UserError
from resnet_repro.plan import Ensemble, Run
from resnet_repro.records import Record
from resnet_repro.records.headline import headline

logger = logging.getLogger("resnet_repro")


def evaluate(run: Run, folder: Path, group: Group, stop: Flag | None) -> None:
    """Test a finished run by its protocol, and record it.

    Args:
        run: The run.
        folder: Its folder.
        group: The processes that share the test.
        stop: Whether a stop was requested.

    Raises:
        UserError: The weights or the data are not there.
        StoppedRun: A stop was requested.
    """
    execution, key = choose_execution(run.config, group), run.config.evaluation.key
    task = make_task(run, folder, execution, group, stop)
    assert isinstance(task, SceneTask)
    network, feed = task.restored(task.load())
    counts = task.test(network, feed, run.config.evaluation)
    weights = checkpoint.weights_hash(network)
    Record(folder, writes=group.is_main).add_evaluation(key, **counts, weights=weights)
    if group.is_main:
        name, value = headline(counts)
        logger.info("%s seed %d, %s: %s %.2f %%", run.row, run.seed, key, name, value or 0.0)


def shared_execution(ensemble: Ensemble, group: Group) -> Execution:
    """Return how the members of an ensemble are computed, which look at each photograph together.

    Raises:
        UserError: They differ in precision, or what `choose_execution` raises.
    """
    precisions = dict.fromkeys(run.config.recipe.precision for run in ensemble.needs)
    if len(precisions) > 1:
        raise UserError(
            f"{ensemble.row}: its members are computed in {' and '.join(precisions)}; set one "
            f"recipe.precision for all"
        )
    return choose_execution(ensemble.needs[0].config, group)
