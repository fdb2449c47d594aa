"""Average precision by the rules of PASCAL VOC: for a class, from detections in falling score.

A detection is compared with the object of its class in its photograph that it overlaps most, found
before or not. If their overlap (IoU) is at least one half and the object is not ignored, the first
such detection of the object is right and later ones are wrong; with an ignored object (difficult)
it is neither; else it is wrong.

    [VOC]  The PASCAL Visual Object Classes challenge, VOCevaldet.m of its development kit
"""

from dataclasses import dataclass

import numpy as np

from resnet_repro.detection.detections import Detections
from resnet_repro.detection.scenes import Scenes


@dataclass(frozen=True)
class Curve:
    """Precision against recall after each of M detections of a class.

    Attributes:
        right: (M,), int64: the number of right ones so far.
        precision: (M,), float64.
        num_objects: The number of objects that are not ignored.
    """

    right: np.ndarray
    precision: np.ndarray
    num_objects: int

    @property
    def recall(self) -> np.ndarray:
        """(M,), float64: the share of the objects found so far."""
        share: np.ndarray = self.right / max(self.num_objects, 1)
        return share

    @property
    def eleven_points(self) -> float | None:
        """VOC2007's: the mean of the best precisions at recalls of at least 0, 0.1, ..., 1."""
        if not self.num_objects:
            return None
        # In floats, as in the programs that published numbers are from: a recall of exactly 3 of 10
        # is below 3 * 0.1, and so are 6 and 7 of 10. It only matters to classes of few objects.
        points = np.arange(11) * 0.1
        best = [self.precision[self.recall >= point].max(initial=0) for point in points]
        return float(np.mean(best))

    @property
    def area(self) -> float | None:
        """VOC2010's: the area under the best precisions at each recall or above."""
        if not self.num_objects:
            return None
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        is_right = np.diff(self.right, prepend=0) > 0
        return float(best[is_right].sum() / self.num_objects)


def curve(detections: Detections, scenes: Scenes, label: int, iou: float = 0.5) -> Curve:
    """Compare the detections of a class with its objects.

    Args:
        detections: Those of all classes, sorted.
        scenes: The test set.
        label: The class.
        iou: Overlap from which on a detection is one of the object.
    """
    of_class = scenes.classes == label
    objects, ignored = scenes.boxes[of_class], scenes.ignored[of_class]
    found = detections.take(detections.classes == label)
    images = found.images.numpy()
    best, overlap = _best_objects(found.boxes.numpy(), images, objects, scenes.owners[of_class])
    hits = overlap >= iou
    hits[hits] = ~ignored[best[hits]]
    counted = hits | (overlap < iou)
    is_right = np.zeros(len(images), dtype=bool)
    at = np.flatnonzero(hits)
    is_right[at[np.unique(best[at], return_index=True)[1]]] = True  # the first of each object
    right = np.cumsum(is_right[counted])
    return Curve(right, right / np.arange(1, len(right) + 1), int((~ignored).sum()))


def _best_objects(
    boxes: np.ndarray, images: np.ndarray, objects: np.ndarray, owners: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each box the object of its photograph that it overlaps most, and the IoU.

    Args:
        boxes: (M, 4).
        images: (M,), their photographs.
        objects: (n, 4).
        owners: (n,), their photographs, in increasing order.

    Returns:
        (M,), int64, the first of the best ones, and (M,), float64: -1 where there is no object.
    """
    first = np.searchsorted(owners, images)
    number = np.searchsorted(owners, images, side="right") - first
    best, overlap = np.zeros(len(boxes), dtype=np.int64), np.full(len(boxes), -1.0)
    for k in range(number.max(initial=0)):  # the k-th object of each photograph
        at = np.flatnonzero(number > k)
        candidates = first[at] + k
        values = _iou(boxes[at], objects[candidates])
        better = values > overlap[at]
        overlap[at[better]], best[at[better]] = values[better], candidates[better]
    return best, overlap


def _iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the IoU of pairs of boxes, (n, 4) each, in double precision."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    common = sides.clip(min=0).prod(axis=1)
    both = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    iou: np.ndarray = common / np.maximum(both[0] + both[1] - common, np.finfo(np.float64).tiny)
    return iou
