"""Testing finished detectors by other protocols than while they were trained, alone or together."""

import logging
from pathlib import Path

from torch import Tensor

from resnet_repro.detection.feed import SceneFeed
from resnet_repro.detection.pyramid import ImagePyramid
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.detection.restore import restore_detector
from resnet_repro.engine.detection.task import Detection
from resnet_repro.engine.detection.testing import Members, measure_detections, members_of
from resnet_repro.engine.execution import choose_execution
from resnet_repro.plan import Ensemble, Run
from resnet_repro.records import Record
from resnet_repro.records.headline import headline

logger = logging.getLogger("resnet_repro")


def evaluate_detector(run: Run, folder: Path, group: Group, stop: Flag | None) -> None:
    """Test a finished detector by its protocol, and record it.

    Args:
        run: The run.
        folder: Its folder.
        group: The processes that share the test.
        stop: Whether a stop was requested.

    Raises:
        UserError: The weights or the data are not there.
        StoppedRun: A stop was requested.
    """
    config = run.config
    execution = choose_execution(config, group)
    detector, inputs = restore_detector(run, folder, execution)
    feed = SceneFeed(load_scenes(config.data), config, group, execution.device, inputs)
    task = Detection(run, folder, execution, group, stop)
    counts = task.test(detector, feed, config.evaluation)
    record = Record(folder, writes=group.is_main)
    weights = checkpoint.weights_hash(detector)
    record.add_evaluation(config.evaluation.key, **counts, weights=weights)
    if group.is_main:
        name, value = headline(counts)
        what = (run.row, run.seed, config.evaluation.key, name, value or 0.0)
        logger.info("%s seed %d, %s: %s %.2f %%", *what)


def evaluate_detectors(
    ensemble: Ensemble, folder: Path, folders: list[Path], group: Group, stop: Flag | None
) -> None:
    """Test several finished detectors together: their proposals united, their scores averaged.

    Arguments and errors are those of `evaluate_detector`, with the folders of the members.
    """
    config = ensemble.needs[0].config
    execution = choose_execution(config, group)
    data, test = load_scenes(config.data), ensemble.evaluation
    looks: list[Members] = []
    hashes, feeds = [], []
    for run, member in zip(ensemble.needs, folders, strict=True):
        detector, inputs = restore_detector(run, member, execution)
        feed = SceneFeed(data, run.config, group, execution.device, inputs)
        given = Detection(run, member, execution, group, stop).test_proposals(feed, test)
        looks.append(members_of(detector, feed, run.config, test, given))
        hashes.append(checkpoint.weights_hash(detector))
        feeds.append(feed)

    def members(position: int, pixels: Tensor) -> list[ImagePyramid]:
        return [pyramid for look in looks for pyramid in look(position, pixels)]

    counts = measure_detections(members, feeds[0], test, config, folder, execution, group, stop)
    record = Record(folder, writes=group.is_main)
    names = [run.id for run in ensemble.needs]
    record.add_evaluation(test.key, **counts, members=names, weights=hashes)
    if group.is_main:
        name, value = headline(counts)
        logger.info("%s, %s: %s %.2f %%", ensemble.row, test.key, name, value or 0.0)
