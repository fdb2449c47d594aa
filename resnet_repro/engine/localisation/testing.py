"""Testing localisation: the class of each test photograph, and its box for that class.

A guess can only be right if its class is the photograph's, so the box for that class alone decides:
a photograph is right if its box is, and in the error with predicted classes if the class is among
the five of the classifier, too.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from resnet_repro.detection.localisation.feed import LocalisationFeed
from resnet_repro.detection.localisation.judge import is_found, is_right
from resnet_repro.detection.localisation.looks import Look, looks_at
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.localisation.classes import Probabilities, named
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.settings.evaluation import EvaluationConfig

# Boxes (n, 4) and their scores (n,).
Scored = tuple[Tensor, Tensor]
# A test photograph's position, its looks, its pixels on the device, the class -> scored boxes.
Localiser = Callable[[int, Sequence[Look], Tensor, int], Scored]


def measure_localisation(
    localisers: Sequence[Localiser],
    classifiers: Sequence[Probabilities],
    feed: LocalisationFeed,
    test: EvaluationConfig,
    execution: Execution,
    group: Group,
    stop: Flag | None = None,
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

    Raises:
        StoppedRun: It was.
        UserError: No photograph could be read.
    """
    scenes, stopped = feed.data.test, False
    counts = torch.zeros(3, dtype=torch.int64, device=execution.device)
    with closing(feed.pixels(scenes, feed.own_share(scenes))) as photographs:
        for position, pixels in photographs:
            stopped = stop is not None and stop.is_set()
            if stopped:
                break
            scene = scenes[position]
            label, photograph = int(scene.classes[0]), pixels.to(execution.device)
            looks = looks_at(photograph, test)
            with execution.autocast:
                found = [each(position, looks, photograph, label) for each in localisers]
            box = best_box(found)
            wrong = box is None or not is_found(box, scene.boxes)
            wrong_top5 = wrong
            if classifiers and box is not None:
                guesses = named(classifiers, looks)
                wrong_top5 = not is_right(guesses, box.expand(len(guesses), 4), label, scene.boxes)
            counts += counts.new_tensor([1, wrong, wrong_top5])
    if stop is not None and group.all_reduce_any(stopped)[0]:
        raise StoppedRun("stopped during a test; run the same command to repeat it")
    number, given, top5 = group.all_reduce_sum(counts).tolist()
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
