"""What pictures of a detector's test are drawn from: curves, and photographs with detections."""

from pathlib import Path

import numpy as np
import torch

from resnet_repro.detection.det_ap import det_curve
from resnet_repro.detection.detections import Detections
from resnet_repro.detection.scenes import Scene, Scenes
from resnet_repro.detection.voc_ap import curve
from resnet_repro.records.curves import precision_curve, write_curves
from resnet_repro.records.examples import (
    SHOWN,
    Box,
    Example,
    Found,
    Labelled,
    choose,
    write_examples,
)

NUM_EXAMPLES = 4  # of the best photographs, and of the worst
EXAMPLES_FROM = 2000  # test photographs among which they are chosen, the first ones


def keep_for_pictures(
    folder: Path, key: str, detections: Detections, scenes: Scenes, kind: str
) -> None:
    """Write the curves of precision and the examples of a test into a run's folder.

    Args:
        folder: The run's folder.
        key: The protocol's key.
        detections: Those of the whole test set, sorted.
        scenes: The test set.
        kind: The rules of the curves: `ilsvrc_det`, or others, whose curves are those of VOC.
    """
    curves, curve_of = {}, det_curve if kind == "ilsvrc_det" else curve
    for label, name in enumerate(scenes.class_names):
        found = curve_of(detections, scenes, label)
        if found.num_objects:
            is_right = np.diff(found.right, prepend=0) > 0
            curves[name] = precision_curve(is_right.tolist(), found.num_objects)
    write_curves(folder, key, curves)
    shown = detections.take(torch.nonzero(detections.scores >= SHOWN).flatten())
    examples = []
    for position in range(min(len(scenes), EXAMPLES_FROM)):
        of_it = shown.take(torch.nonzero(shown.images == position).flatten())
        examples.append(_example(scenes[position], of_it, scenes.class_names))
    write_examples(folder, key, choose(examples, NUM_EXAMPLES))


def _example(scene: Scene, found: Detections, names: tuple[str, ...]) -> Example:
    def rounded(boxes: torch.Tensor) -> list[Box]:
        return [[round(value, 1) for value in box] for box in boxes.tolist()]

    labelled = Labelled(
        rounded(scene.boxes), [names[c] for c in scene.classes.tolist()], scene.ignored.tolist()
    )
    scores = [round(score, 4) for score in found.scores.tolist()]
    detected = Found(rounded(found.boxes), [names[c] for c in found.classes.tolist()], scores)
    return Example(str(scene.path.resolve()), labelled, detected)
