"""Testing a detector: its detections in every test photograph, and their scores."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet_repro.detection.coco_results import write_coco_results
from resnet_repro.detection.detect import detect
from resnet_repro.detection.detections import Detections
from resnet_repro.detection.feed import SceneFeed
from resnet_repro.detection.network import Detector
from resnet_repro.detection.pyramid import CANDIDATES, ImagePyramid
from resnet_repro.detection.scores import recall, score
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.detection.proposals import ProposalFiles
from resnet_repro.engine.detection.shown import keep_for_pictures
from resnet_repro.engine.detection.unfinished import EMPTY, UnfinishedDetections, UnfinishedTest
from resnet_repro.engine.execution import Execution
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.run import RunConfig

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
    unfinished: UnfinishedDetections,
    stop: Flag | None = None,
) -> tuple[Detections, np.ndarray]:
    """Return the detections of all processes in the test photographs, and which could be read.

    What is found is kept in `unfinished`, and what is there is not looked for again.

    Raises:
        StoppedRun: `stop` was set, in any of the processes.
        UserError: No photograph can be read, or one cannot and is not to be skipped.
    """

    def look(position: int, pixels: Tensor) -> Detections:
        boxes, scores, classes = (each.cpu() for each in detect(members(position, pixels), test))
        images = torch.full_like(classes, position)
        return Detections(images, boxes.float(), scores.float(), classes)

    found = look_at_own(look, feed, execution, group, stop, unfinished)
    own = Detections.concatenate([EMPTY, *found.values()])  # a process may have no photograph
    parts = group.gather((own, [*found]))
    read = _positions(positions for _, positions in parts)
    return Detections.concatenate([part for part, _ in parts]).sorted(), read


def look_at_own(
    look: Callable[[int, Tensor], Any],
    feed: SceneFeed,
    execution: Execution,
    group: Group,
    stop: Flag | None,
    unfinished: UnfinishedTest[Any] | None = None,
) -> dict[int, Any]:
    """Return what is found in each of this process's test photographs, by position.

    Args:
        look: Looks at a photograph, given its position in the test set and its pixels.
        feed: The photographs.
        execution: The way networks are computed.
        group: The processes that share the test.
        stop: Whether a stop was requested.
        unfinished: Where what is found is kept; None: it is not kept.

    Raises:
        StoppedRun: `stop` was set, in any of the processes.
        UserError: A photograph cannot be read and is not to be skipped.
    """
    found: dict[int, Any] = dict(unfinished.load()) if unfinished else {}
    stopped = False
    share = [each for each in feed.own_share(feed.data.test) if each not in found]
    with closing(feed.pixels(feed.data.test, share)) as photographs:
        for position, pixels in photographs:
            stopped = stop is not None and stop.is_set()
            if stopped:
                break
            with execution.autocast:
                found[position] = look(position, pixels)
            if unfinished:
                unfinished.save_if_due(found)
    if stop is not None and group.all_reduce_any(stopped)[0]:
        if unfinished:
            unfinished.save(found)
        again = "resume it" if unfinished else "repeat it"
        raise StoppedRun(f"stopped during a test; run the same command to {again}")
    return found


def _positions(parts: Iterable[list[int]]) -> np.ndarray:
    """Return the positions of the test photographs that could be read, in order."""
    found = np.sort(np.concatenate([np.array(part, dtype=np.int64) for part in parts]))
    if not len(found):
        raise UserError("none of the test photographs can be read")
    return found


def measure_detections(
    members: Members,
    feed: SceneFeed,
    test: EvaluationConfig,
    config: RunConfig,
    folder: Path,
    execution: Execution,
    group: Group,
    weights: str,
    stop: Flag | None = None,
) -> Counts:
    """Test detectors, save their detections in a run's folder, and return the scores.

    A photograph that cannot be read does not count, nor do its objects. A test that is stopped goes
    on, the next time, with the photographs that are left.

    Args:
        members: How the detectors look at a photograph.
        feed: The photographs.
        test: The settings of the test.
        config: Those of the run.
        folder: The run's folder.
        execution: The way the networks are computed.
        group: The processes that share the test.
        weights: The hashes of the detectors' weights.
        stop: Whether a stop was requested.
    """
    path = detections_path(folder, test)
    unfinished = UnfinishedDetections(
        *(folder, path.name, group),
        f"{weights} {feed.data.test.checksum()} {test.key} {config.recipe.precision}",
        60 * config.compute.save_minutes,
    )
    detections, read = find_detections(members, feed, test, execution, group, unfinished, stop)
    counts: Counts = {}
    if group.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        detections.save(path)
        if config.data.name == "coco":
            write_coco_results(path.with_suffix(".json"), detections, feed.data.test)
        among = torch.from_numpy(np.searchsorted(read, detections.images.numpy()))
        detections, scenes = replace(detections, images=among), feed.data.test.take(read)
        counts = score(detections, scenes, config.data.name)
        keep_for_pictures(folder, test.key, detections, scenes, config.data.name)
    counts = group.broadcast(counts)
    if group.is_main:
        unfinished.remove()
    return counts


def measure_proposals(
    detector: Detector,
    feed: SceneFeed,
    test: EvaluationConfig,
    config: RunConfig,
    execution: Execution,
    group: Group,
    stop: Flag | None = None,
) -> Counts:
    """Return how many test objects are among a detector's best proposals.

    A photograph that cannot be read does not count, nor do its objects.
    """
    size = config.data.image_size

    def look(_: int, pixels: Tensor) -> Tensor:
        photograph = feed.photograph(pixels)
        pyramid = ImagePyramid(detector, photograph, config.detector, config.data, [size])
        return pyramid.propose(CANDIDATES, test.num_proposals)[0].cpu()

    parts = group.gather(look_at_own(look, feed, execution, group, stop))
    every = {position: boxes for part in parts for position, boxes in part.items()}
    read = _positions([[*every]])
    return recall([every[position] for position in read.tolist()], feed.data.test.take(read))


def detections_path(folder: Path, test: EvaluationConfig) -> Path:
    """Return the file of a run's detections in a test."""
    return folder / f"detections-{test.key.replace(' ', '-').replace(':', '=')}.npz"
