"""Testing a finished run of detection or localisation by its protocol."""

from pathlib import Path
from typing import Any

from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.detection.scene_task import SceneTask
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.restore import warn_of_other_data
from resnet_repro.engine.tasks import make_task
from resnet_repro.plan import Run


def evaluate(run: Run, folder: Path, group: Group, stop: Flag | None) -> tuple[dict[str, Any], str]:
    """Test a finished run by its protocol; return what was counted, and the hash of its weights.

    Args:
        run: The run.
        folder: Its folder.
        group: The processes that share the test.
        stop: Whether a stop was requested.

    Raises:
        UserError: The weights or the data are not there.
        StoppedRun: A stop was requested.
    """
    execution = choose_execution(run.config, group)
    task = make_task(run, folder, execution, group, stop)
    assert isinstance(task, SceneTask)
    data = task.load()
    if group.is_main:
        warn_of_other_data(run, folder, data.checksum())
    network, feed = task.restored(data)
    counts = task.test(network, feed, run.config.evaluation)
    return counts, checkpoint.weights_hash(network)
