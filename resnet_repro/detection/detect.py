"""Detection of the objects in a photograph, by one detector or an ensemble.

Shapes: R regions, K classes; boxes (..., 4) are x1 y1 x2 y2 in pixels of the photograph.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from resnet_repro.detection.pyramid import ImagePyramid
from resnet_repro.detection.suppression import Detected, suppress
from resnet_repro.settings.evaluation import EvaluationConfig


@torch.inference_mode()
def detect(members: Sequence[ImagePyramid], test: EvaluationConfig) -> Detected:
    """Detect the objects in a photograph ([He15] App. A, B).

    An ensemble classifies the proposals of all its members; their probabilities and boxes are
    averaged.

    Args:
        members: The detectors with the photograph: one, or those of an ensemble.
        test: The settings of the test.
    """
    regions = torch.cat([member.regions(test.num_proposals) for member in members])
    scores, boxes = _classify(members, regions)
    more = []
    if test.refine and test.refine_per_class:
        more = [_look_for(members, boxes, number) for number in range(scores.shape[1])]
    elif test.refine:
        more_scores, more_boxes = _classify(members, best_boxes(scores, boxes))
        scores, boxes = torch.cat([scores, more_scores]), torch.cat([boxes, more_boxes])
    return suppress(
        scores,
        boxes,
        threshold=test.threshold,
        overlap=test.nms,
        most=test.most,
        voting=test.refine,
        more=more,
    )


def best_boxes(scores: Tensor, boxes: Tensor) -> Tensor:
    """Return the box of each region's best class, the regions of a second look: (R', 4).

    Args:
        scores: (R, K).
        boxes: (R, K, 4). Those without area are left out.
    """
    return _with_area(boxes[torch.arange(len(boxes), device=boxes.device), scores.argmax(dim=1)])


def _look_for(members: Sequence[ImagePyramid], boxes: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return probabilities (R',) and boxes (R', 4) of a class, of its boxes in (R, K, 4)."""
    scores, found = _classify(members, _with_area(boxes[:, number]))
    return scores[:, number], found[:, number]


def _with_area(boxes: Tensor) -> Tensor:
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]


def _classify(members: Sequence[ImagePyramid], regions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean probabilities (R, K) and boxes (R, K, 4) of regions (R, 4)."""
    scores, boxes = zip(*(member.classify(regions) for member in members), strict=True)
    return torch.stack(scores).mean(dim=0), torch.stack(boxes).mean(dim=0)
