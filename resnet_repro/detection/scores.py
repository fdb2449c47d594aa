"""The scores of detections and of proposals, as records keep them; in percent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from resnet_repro.detection.coco_ap import coco_scores
from resnet_repro.detection.det_ap import det_curve
from resnet_repro.detection.detections import Detections
from resnet_repro.detection.scenes import Scenes
from resnet_repro.detection.voc_ap import curve


def score(detections: Detections, scenes: Scenes, kind: str) -> dict[str, Any]:
    """Score detections.

    Args:
        detections: In any order: equal scores are put in an order of their own.
        scenes: The test set.
        kind: The rules: `voc`, `coco` or `ilsvrc_det`.

    Returns:
        Numbers of photographs and of objects that are not ignored, means over classes, and
        `per_class`; None for a class without objects, which no mean has.

    Raises:
        UserError: COCO's rules need a package that is not installed.
    """
    scorer = {"voc": _voc, "coco": _coco, "ilsvrc_det": _det}[kind]
    return {**_numbers(scenes), **scorer(detections.sorted(), scenes)}


def recall(proposals: Sequence[Tensor], scenes: Scenes) -> dict[str, int]:
    """Count the objects that proposals overlap, of any class.

    Args:
        proposals: (n, 4) for each photograph.
        scenes: The photographs.

    Returns:
        The numbers of objects found with an IoU of at least 0.5 (`num_found`) and 0.7
        (`num_found_70`).
    """
    wanted = ~scenes.ignored
    best = np.full(len(wanted), -1.0)
    for i, boxes in enumerate(proposals):
        objects = slice(scenes.offsets[i], scenes.offsets[i + 1])
        if len(boxes):
            overlaps = box_iou(torch.from_numpy(scenes.boxes[objects]).double(), boxes.double())
            best[objects] = overlaps.amax(dim=1).numpy()
    at_50, at_70 = (int((best[wanted] >= iou).sum()) for iou in (0.5, 0.7))
    return {**_numbers(scenes), "num_found": at_50, "num_found_70": at_70}


def _numbers(scenes: Scenes) -> dict[str, int]:
    return {"num_images": len(scenes), "num_objects": int((~scenes.ignored).sum())}


def _voc(detections: Detections, scenes: Scenes) -> dict[str, Any]:
    per_class = {}
    for label, name in enumerate(scenes.class_names):
        made = curve(detections, scenes, label)
        per_class[name] = {
            "voc07": _percent(made.eleven_points),
            "voc12": _percent(made.area),
            "num_objects": made.num_objects,
        }
    means: dict[str, float | None] = {}
    for key in ("voc07", "voc12"):
        defined = (each[key] for each in per_class.values())
        values = [value for value in defined if value is not None]
        means[key] = float(np.mean(values)) if values else None
    return {**means, "per_class": per_class}


def _det(detections: Detections, scenes: Scenes) -> dict[str, Any]:
    made = [det_curve(detections, scenes, label) for label in range(len(scenes.class_names))]
    areas = [_percent(each.area) for each in made]
    defined = [value for value in areas if value is not None]
    per_class = {
        name: {"det": area, "num_objects": each.num_objects}
        for name, area, each in zip(scenes.class_names, areas, made, strict=True)
    }
    return {"det": float(np.mean(defined)) if defined else None, "per_class": per_class}


def _coco(detections: Detections, scenes: Scenes) -> dict[str, Any]:
    made = coco_scores(detections, scenes)
    means = {
        "map50": made.map(iou=0.5),
        "map": made.map(),
        "map75": made.map(iou=0.75),
        **{f"map_{area}": made.map(area=area) for area in ("small", "medium", "large")},
        **{f"ar{most}": made.recalls(most=most) for most in (1, 10, 100)},
        **{f"ar_{area}": made.recalls(area=area) for area in ("small", "medium", "large")},
    }
    per_class = {
        name: {"map": _percent(made.map(label=k)), "map50": _percent(made.map(iou=0.5, label=k))}
        for k, name in enumerate(scenes.class_names)
    }
    return {**{key: _percent(value) for key, value in means.items()}, "per_class": per_class}


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
