"""Testing finished detectors together."""

from pathlib import Path
from typing import Any

from torch import Tensor

from resnet_repro.detection.network import Detector
from resnet_repro.detection.pyramid import ImagePyramid
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.detection.task import Detection
from resnet_repro.engine.detection.testing import Members, measure_detections, members_of
from resnet_repro.engine.execution import choose_execution
from resnet_repro.plan import Ensemble


def evaluate_detectors(
    ensemble: Ensemble, folder: Path, folders: list[Path], group: Group, stop: Flag | None
) -> tuple[dict[str, Any], list[str]]:
    """Test several finished detectors together: their proposals united, their scores averaged.

    Arguments, results and errors are those of `evaluate_task.evaluate`, with the folders and the
    hashes of the members.
    """
    config = ensemble.needs[0].config
    execution = choose_execution(config, group)
    tasks = [
        Detection(run, member, execution, group, stop)
        for run, member in zip(ensemble.needs, folders, strict=True)
    ]
    data, test = tasks[0].load(), ensemble.evaluation
    looks: list[Members] = []
    hashes, feeds = [], []
    for run, task in zip(ensemble.needs, tasks, strict=True):
        detector, feed = task.restored(data)
        assert isinstance(detector, Detector)
        given = task.test_proposals(feed, test)
        looks.append(members_of(detector, feed, run.config, test, given))
        hashes.append(checkpoint.weights_hash(detector))
        feeds.append(feed)

    def members(position: int, pixels: Tensor) -> list[ImagePyramid]:
        return [pyramid for look in looks for pyramid in look(position, pixels)]

    weights = " ".join(hashes)
    counts = measure_detections(
        members, feeds[0], test, config, folder, execution, group, weights, stop
    )
    return counts, hashes
