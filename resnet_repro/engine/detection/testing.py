"""Testing a detector: the detections in each test photograph once, and what they are worth."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_repro.detection.detect import detect
from resnet_repro.detection.detections import Detections
from resnet_repro.detection.feed import SceneFeed
from resnet_repro.detection.network import Detector
from resnet_repro.detection.pyramid import CANDIDATES, ImagePyramid
from resnet_repro.detection.scores import recall, score
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.detection.proposals import ProposalFiles
from resnet_repro.engine.execution import Execution
from resnet_repro.errors import StoppedRun
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

Counts = dict[str, Any]
# A photograph's position in the test set and its pixels -> the detectors that look at it.
Members = Callable[[int, Tensor], list[ImagePyramid]]


def members_of(
    detector: Detector,
    feed: SceneFeed,
    config: RunConfig,
    test: EvaluationConfig,
    given: ProposalFiles | None,
) -> Members:
    """Return how one detector looks at photographs: with proposals of another, or its own."""

    def members(position: int, pixels: Tensor) -> list[ImagePyramid]:
        photograph = feed.photograph(pixels)
        regions = None if given is None else given[position].to(feed.device)
        return [
            ImagePyramid(detector, photograph, config.detector, config.data, test.sizes, regions)
        ]

    return members


def find_detections(
    members: Members,
    feed: SceneFeed,
    test: EvaluationConfig,
    execution: Execution,
    group: Group,
    stop: Flag | None = None,
) -> Detections:
    """Return the detections in all test photographs, those of all processes.

    Raises:
        StoppedRun: `stop` was set, in any of the processes.
    """
    scenes, found, stopped = feed.data.test, [], False
    for position, pixels in feed.pixels(scenes, feed.own_share(scenes)):
        stopped = stop is not None and stop.is_set()
        if stopped:
            break
        with execution.autocast:
            boxes, scores, classes = (
                each.cpu() for each in detect(members(position, pixels), test)
            )
        images = torch.full_like(classes, position)
        found.append(Detections(images, boxes.float(), scores.float(), classes))
    if stop is not None and group.all_reduce_any(stopped)[0]:
        raise StoppedRun("stopped during a test; run the same command to repeat it")
    return Detections.concatenate(group.gather(Detections.concatenate(found))).sorted()


def measure_detections(
    members: Members,
    feed: SceneFeed,
    test: EvaluationConfig,
    config: RunConfig,
    folder: Path,
    execution: Execution,
    group: Group,
    stop: Flag | None = None,
) -> Counts:
    """Test detectors, keep their detections in a run's folder, and return what they are worth."""
    detections = find_detections(members, feed, test, execution, group, stop)
    counts: Counts = {}
    if group.is_main:
        detections.save(detections_path(folder, test))
        counts = score(detections, feed.data.test, config.data.name)
    return group.broadcast(counts)


def measure_proposals(
    detector: Detector,
    feed: SceneFeed,
    test: EvaluationConfig,
    config: RunConfig,
    execution: Execution,
    group: Group,
    stop: Flag | None = None,
) -> Counts:
    """Return how many test objects are among a detector's best proposals."""
    scenes, found, stopped = feed.data.test, {}, False
    for position, pixels in feed.pixels(scenes, feed.own_share(scenes)):
        stopped = stop is not None and stop.is_set()
        if stopped:
            break
        pyramid = ImagePyramid(
            detector,
            feed.photograph(pixels),
            config.detector,
            config.data,
            [config.data.image_size],
        )
        with execution.autocast:
            found[position] = pyramid.propose(CANDIDATES, test.num_proposals)[0].cpu()
    if stop is not None and group.all_reduce_any(stopped)[0]:
        raise StoppedRun("stopped during a test; run the same command to repeat it")
    every = {p: boxes for part in group.gather(found) for p, boxes in part.items()}
    nothing = torch.zeros(0, 4)
    return recall([every.get(p, nothing) for p in range(len(scenes))], scenes)


def detections_path(folder: Path, test: EvaluationConfig) -> Path:
    """Return the file of a run's detections in a test."""
    return folder / f"detections-{test.key.replace(' ', '-').replace(':', '=')}.npz"
