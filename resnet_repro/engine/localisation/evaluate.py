"""Testing finished networks of localisation together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_repro.detection.localisation.feed import LocalisationFeed
from resnet_repro.detection.localisation.networks import ClassRegions
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.localisation.classes import Probabilities, classifier_id, classifier_of
from resnet_repro.engine.localisation.task import Localisation
from resnet_repro.engine.localisation.testing import measure_localisation, unfinished_errors
from resnet_repro.plan import Ensemble
from resnet_repro.records.runs import run_folder


def evaluate_localisers(
    ensemble: Ensemble, folders: list[Path], group: Group, stop: Flag | None
) -> tuple[dict[str, Any], list[str]]:
    """Test several finished runs of R-CNN together.

    Each classifies the proposals of all; boxes, scores and class probabilities are averaged. The
    paper does not describe its ensemble. Arguments, results and errors are those of
    `evaluate_task.evaluate`, with the folders and the hashes of the members.
    """
    config, test = ensemble.needs[0].config, ensemble.evaluation
    execution, data = choose_execution(config, group), load_scenes(config.data)
    tasks, networks, feeds, hashes = [], [], [], []
    classifiers: dict[str, Probabilities] = {}  # members may share one
    for run, member in zip(ensemble.needs, folders, strict=True):
        tasks.append(Localisation(run, member, execution, group, stop))
        network, feed = tasks[-1].restored(data)
        assert isinstance(network, ClassRegions)
        assert isinstance(feed, LocalisationFeed)
        feeds.append(feed)
        networks.append(network)
        hashes.append(checkpoint.weights_hash(network))
        name = classifier_id(run)
        if name and name not in classifiers:
            found = classifier_of(run, tasks[-1].results, execution, group)
            assert found is not None
            classifiers[name] = found
    proposals = [task.test_proposals(feed, test) for task, feed in zip(tasks, feeds, strict=True)]
    regions = _united(proposals)
    localisers = [
        task.localiser(network, feed, test, regions)
        for task, network, feed in zip(tasks, networks, feeds, strict=True)
    ]
    folder, feed, by = run_folder(ensemble, tasks[0].results), feeds[0], [*classifiers.values()]
    unfinished = unfinished_errors(folder, feed, test, config, group, [*hashes, *classifiers])
    how = execution, group, stop, unfinished
    counts = measure_localisation(localisers, by, feed, test, *how)
    return counts, hashes


def _united(proposals: list[Callable[[int], Tensor]]) -> Callable[[int], Tensor]:
    return lambda position: torch.cat([each(position) for each in proposals])
