"""Testing finished networks of localisation by their protocol, alone or together."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from resnet_repro.detection.localisation.feed import LocalisationFeed
from resnet_repro.detection.localisation.networks import ClassRegions
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.localisation.classes import classifier_of
from resnet_repro.engine.localisation.task import Localisation, restore_localiser
from resnet_repro.engine.localisation.testing import measure_localisation
from resnet_repro.errors import UserError
from resnet_repro.plan import Ensemble, Run
from resnet_repro.records import Record
from resnet_repro.records.headline import headline

logger = logging.getLogger("resnet_repro")


def evaluate_localiser(run: Run, folder: Path, group: Group, stop: Flag | None) -> None:
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
    config, execution = run.config, choose_execution(run.config, group)
    network, inputs = restore_localiser(run, folder, execution)
    feed = LocalisationFeed(load_scenes(config.data), config, group, execution.device, inputs)
    task = Localisation(run, folder, execution, group, stop)
    counts = task.test(network, feed, config.evaluation)
    weights = checkpoint.weights_hash(network)
    record = Record(folder, writes=group.is_main)
    record.add_evaluation(config.evaluation.key, **counts, weights=weights)
    if group.is_main:
        what = (run.row, run.seed, config.evaluation.key, *headline(counts))
        logger.info("%s seed %d, %s: %s %.2f %%", *what)


def evaluate_localisers(
    ensemble: Ensemble, folder: Path, folders: list[Path], group: Group, stop: Flag | None
) -> None:
    """Test several finished runs of R-CNN together.

    Each classifies the proposals of all; boxes, scores and class probabilities are averaged. The
    paper does not describe its ensemble. Arguments and errors are those of `evaluate_localiser`,
    with the folders of the members.
    """
    config, test = ensemble.needs[0].config, ensemble.evaluation
    if config.detector.step != "localisation_regions":
        raise UserError(
            f"{ensemble.row}: members have boxes of their own; only those of localisation_regions, "
            f"which classify the same regions, can be averaged"
        )
    execution, data = choose_execution(config, group), load_scenes(config.data)
    tasks, networks, feeds, hashes, classifiers = [], [], [], [], []
    for run, member in zip(ensemble.needs, folders, strict=True):
        network, inputs = restore_localiser(run, member, execution)
        assert isinstance(network, ClassRegions)
        tasks.append(Localisation(run, member, execution, group, stop))
        feeds.append(LocalisationFeed(data, run.config, group, execution.device, inputs))
        networks.append(network)
        hashes.append(checkpoint.weights_hash(network))
        found = classifier_of(run, tasks[-1].results, execution, group)
        classifiers += [found] if found else []
    proposals = [task.test_proposals(feed, test) for task, feed in zip(tasks, feeds, strict=True)]
    regions = _united(proposals)
    localisers = [
        task.localiser(network, feed, test, regions)
        for task, network, feed in zip(tasks, networks, feeds, strict=True)
    ]
    counts = measure_localisation(localisers, classifiers, feeds[0], test, execution, group, stop)
    record = Record(folder, writes=group.is_main)
    if group.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        logger.info("%s, %s: %s %.2f %%", ensemble.row, test.key, *headline(counts))
    names = [run.id for run in ensemble.needs]
    record.add_evaluation(test.key, **counts, members=names, weights=hashes)


def _united(proposals: list[Callable[[int], Tensor]]) -> Callable[[int], Tensor]:
    return lambda position: torch.cat([each(position) for each in proposals])
