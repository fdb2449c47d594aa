"""Average precision and recall by the rules of COCO, computed by faster-coco-eval.

It gives the numbers of COCO's own program, in a fraction of its time and memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_repro.detection.detections import Detections
from resnet_repro.detection.scenes import Scenes
from resnet_repro.errors import UserError

MOST = [1, 10, 100]  # detections per photograph and class
AREAS = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class CocoScores:
    """What COCO's program computes; -1 where there are no objects.

    Attributes:
        precision: (T, R, K, A, M), at 10 overlaps, 101 recalls, K classes, 4 ranges of areas and
            the numbers of detections in `MOST`.
        recall: (T, K, A, M).
    """

    precision: np.ndarray
    recall: np.ndarray

    def map(
        self, iou: float | None = None, area: str = "all", label: int | None = None
    ) -> float | None:
        """Return the mean average precision; None if there are no objects.

        Args:
            iou: An overlap; None: the mean over 0.50, 0.55, ..., 0.95.
            area: The range of areas.
            label: A class; None: the mean over all.
        """
        values = self.precision[:, :, :, AREAS.index(area), -1]
        if iou is not None:
            values = values[[round((iou - 0.5) / 0.05)]]
        return _mean(values if label is None else values[:, :, label])

    def recalls(self, most: int = 100, area: str = "all") -> float | None:
        """Return the mean recall over overlaps and classes; None if there are no objects."""
        return _mean(self.recall[:, :, AREAS.index(area), MOST.index(most)])


def _mean(values: np.ndarray) -> float | None:
    defined = values[values > -1]
    return float(defined.mean()) if len(defined) else None


def coco_program() -> tuple[Any, Any]:
    """Return the classes of the package that computes scores.

    Raises:
        UserError: The package is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise UserError(
            "COCO's scores need the package faster-coco-eval: pip install 'faster-coco-eval>=1.8'"
        ) from error
    return COCO, COCOeval_faster


def coco_scores(detections: Detections, scenes: Scenes) -> CocoScores:
    """Score detections.

    Args:
        detections: Sorted: the order of equal scores counts.
        scenes: The test set.

    Raises:
        UserError: The package is not installed.
    """
    COCO, COCOeval_faster = coco_program()  # noqa: N806 - classes
    # Photographs are numbered by their positions: in joined sets, COCO's own numbers may repeat.
    images = [
        {"id": i + 1, "height": height, "width": width}
        for i, (height, width) in enumerate(scenes.sizes.tolist())
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(scenes.class_names)]
    common = {"info": {}, "images": images, "categories": categories}
    objects = _annotations(scenes.owners, scenes.classes, scenes.boxes)
    for each, area, ignored in zip(
        objects, scenes.areas.tolist(), scenes.ignored.tolist(), strict=True
    ):
        each |= {"area": area, "iscrowd": int(ignored)}
    found = _annotations(
        detections.images.numpy(), detections.classes.numpy(), detections.boxes.numpy()
    )
    for each, score in zip(found, detections.scores.tolist(), strict=True):
        width, height = each["bbox"][2:]
        each |= {"area": width * height, "iscrowd": 0, "score": score}
    evaluation = COCOeval_faster(
        COCO({**common, "annotations": objects}),
        COCO({**common, "annotations": found}),
        iouType="bbox",
        print_function=_silent,
    )
    evaluation.params.maxDets = MOST
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = (np.asarray(evaluation.eval[name]) for name in ("precision", "recall"))
    shape = tuple(evaluation.eval["counts"])
    return CocoScores(precision.reshape(shape), recall.reshape(shape[:1] + shape[2:]))


def _annotations(
    images: np.ndarray, classes: np.ndarray, boxes: np.ndarray
) -> list[dict[str, Any]]:
    corners = boxes.astype(np.float64)
    corners[:, 2:] -= corners[:, :2]
    return [
        {"id": i + 1, "image_id": image + 1, "category_id": label + 1, "bbox": box}
        for i, (image, label, box) in enumerate(
            zip(images.tolist(), classes.tolist(), corners.tolist(), strict=True)
        )
    ]


def _silent(*_: object) -> None:
    """Take what faster-coco-eval prints about its progress."""
