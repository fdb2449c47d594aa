"""Testing localisation: the class of each test photograph, and its box for that class.

A guess can only be right if its class is the photograph's, so the box for that class alone decides:
a photograph is right if its box is, and in the error with predicted classes if the class is among
the five of the classifier, too.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet_repro.detection.localisation.feed import LocalisationFeed
from resnet_repro.detection.localisation.judge import is_found, is_right
from resnet_repro.detection.localisation.looks import Look, looks_at
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.detection.testing import look_at_own
from resnet_repro.engine.detection.unfinished import Arrays, UnfinishedTest
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.localisation.classes import Probabilities, named
from resnet_repro.errors import UserError
from resnet_repro.plan.names import slug
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.run import RunConfig

# Boxes (n, 4) and their scores (n,).
Scored = tuple[Tensor, Tensor]
# A test photograph's position, its looks, its pixels on the device, the class -> scored boxes.
Localiser = Callable[[int, Sequence[Look], Tensor, int], Scored]
# Whether a photograph is wrong for the given class, and with predicted classes.
Wrong = tuple[bool, bool]


class UnfinishedErrors(UnfinishedTest[Wrong]):
    """Which photographs of this process are wrong; arguments are those of `UnfinishedTest`."""

    def _packed(self, found: dict[int, Wrong]) -> dict[str, np.ndarray]:
        positions, wrong = [*found], [*found.values()]
        return {"positions": np.array(positions, dtype=np.int64), "wrong": np.array(wrong, bool)}

    def _unpacked(self, arrays: Arrays) -> dict[int, Wrong]:
        pairs = [(given, top5) for given, top5 in arrays["wrong"].tolist()]
        return dict(zip(arrays["positions"].tolist(), pairs, strict=True))


def unfinished_errors(
    folder: Path,
    feed: LocalisationFeed,
    test: EvaluationConfig,
    config: RunConfig,
    group: Group,
    networks: Sequence[str],
) -> UnfinishedErrors:
    """Return where a test is kept if it is stopped.

    Args:
        folder: The run's folder.
        feed: What reads the photographs.
        test: The settings of the test.
        config: Those of the run.
        group: The processes that share the test.
        networks: Identifiers of the weights of the localisers and of the classifiers.
    """
    identity = [*networks, feed.data.test.checksum(), test.key, config.recipe.precision]
    name = f"localisation-{slug(test.key)}.npz"
    seconds = 60 * config.compute.save_minutes
    return UnfinishedErrors(folder, name, group, " ".join(identity), seconds)


def measure_localisation(
    localisers: Sequence[Localiser],
    classifiers: Sequence[Probabilities],
    feed: LocalisationFeed,
    test: EvaluationConfig,
    execution: Execution,
    group: Group,
    stop: Flag | None = None,
    unfinished: UnfinishedErrors | None = None,
) -> dict[str, Any]:
    """Return the errors of localisation.

    Args:
        localisers: One, or those of an ensemble, which return the same number of boxes: boxes and
            scores are averaged.
        classifiers: Those that name classes; none: only for the given class.
        feed: What reads the photographs.
        test: The settings of the test.
        execution: The way networks are computed.
        group: The processes that share the test.
        stop: Whether a stop was requested.
        unfinished: Where the test is kept if it is stopped; None: it is not kept.

    Raises:
        StoppedRun: It was.
        UserError: No photograph could be read.
    """
    scenes = feed.data.test

    def look(position: int, pixels: Tensor) -> Wrong:
        scene = scenes[position]
        label, photograph = int(scene.classes[0]), pixels.to(execution.device)
        looks = looks_at(photograph, test)
        box = best_box([each(position, looks, photograph, label) for each in localisers])
        if box is None or not is_found(box, scene.boxes):
            return True, True
        if not classifiers:
            return False, False
        guesses = named(classifiers, looks)
        return False, not is_right(guesses, box.expand(len(guesses), 4), label, scene.boxes)

    found: dict[int, Wrong] = look_at_own(look, feed, execution, group, stop, unfinished)
    wrong = torch.tensor([*found.values()], dtype=torch.int64).view(-1, 2)
    counts = torch.cat([torch.tensor([len(found)]), wrong.sum(dim=0)]).to(execution.device)
    number, given, top5 = group.all_reduce_sum(counts).tolist()
    if unfinished and group.is_main:
        unfinished.remove()
    if not number:
        raise UserError("no test photograph can be read")
    counted = {"num_images": number, "num_errors_loc_gt": given}
    return counted | ({"num_errors_loc_top5": top5} if classifiers else {})


def best_box(found: Sequence[Scored]) -> Tensor | None:
    """Return the box (4,) of the highest mean score, in its mean place, on the CPU.

    None without boxes.
    """
    scores = torch.stack([scores.float() for _, scores in found]).mean(dim=0)
    if not len(scores):
        return None
    boxes = torch.stack([boxes.float() for boxes, _ in found]).mean(dim=0)
    return boxes[scores.argmax()].cpu()
