"""From scored boxes of every class to detections: non-maximum suppression, and box voting.

Shapes: R regions, K classes, d detections; boxes (..., 4) are x1 y1 x2 y2 in pixels.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import nms, roi_pool

from resnet_repro.detection.boxes import vote
from resnet_repro.errors import UserError

NUM_CHECKED = 50  # boxes
CHECKED_OVERLAP = 0.317  # that of no two of them: at a tie, devices differ
REMEDY = "install the torchvision that was built for this torch"


class Detected(NamedTuple):
    """Detections in a photograph, by falling score; equal scores by class.

    Attributes:
        boxes: (d, 4), float32.
        scores: (d,), float32.
        classes: (d,), int64, 0 to K-1.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor


def check_operators(device: torch.device) -> None:
    """Check that torchvision's operators compute on a device what they do on a CPU.

    Raises:
        UserError: They do not: torchvision was built for another device than torch.
    """
    draws = torch.Generator().manual_seed(0)
    corners = 8 * torch.randint(12, (NUM_CHECKED, 2), generator=draws).float()
    sides = 8 * torch.randint(1, 12, (NUM_CHECKED, 2), generator=draws).float()
    boxes = torch.cat([corners, corners + sides], dim=1)
    scores, maps = (
        torch.rand(NUM_CHECKED, generator=draws),
        torch.rand(1, 3, 24, 24, generator=draws),
    )

    def compute(on: torch.device) -> list[Tensor]:
        here = boxes.to(on)
        regions = torch.cat([here.new_zeros(len(here), 1), here], dim=1)
        pooled = roi_pool(maps.to(on), regions, (7, 7), 1 / 8)
        return [nms(here, scores.to(on), CHECKED_OVERLAP).cpu(), pooled.cpu()]

    try:
        found = compute(device)
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"torchvision's operators, which detectors need, do not work on {device} "
            f"({str(error).splitlines()[0]}): {REMEDY}"
        ) from error
    if not all(map(torch.equal, found, compute(torch.device("cpu")))):
        raise UserError(
            f"torchvision's operators, which detectors need, compute something wrong on {device}: "
            f"{REMEDY}"
        )


def suppress(
    scores: Tensor,
    boxes: Tensor,
    *,
    threshold: float,
    overlap: float,
    most: int | None,
    voting: bool,
    more: Sequence[tuple[Tensor, Tensor]] = (),
) -> Detected:
    """Keep the boxes of each class that no better one of it overlaps.

    Args:
        scores: (R, K).
        boxes: (R, K, 4), a box of each class. Those without area are no detections.
        threshold: Score at or below which a box is dropped.
        overlap: IoU above which the lower of two is suppressed.
        most: Largest number of detections of all classes; None: all.
        voting: Whether each kept box moves to where the boxes that overlap it are ([He15] App. B).
        more: Scores (r,) and boxes (r, 4) of each class in addition; or of none.
    """
    scores, boxes = scores.T, boxes.transpose(0, 1)
    used = _are_detections(scores, boxes, threshold)
    numbers = used.sum(dim=1).tolist()
    classes: Iterable[tuple[Tensor, Tensor]] = zip(
        scores[used].split_with_sizes(numbers), boxes[used].split_with_sizes(numbers), strict=True
    )
    if more:
        each = (_are_detections(*of_class, threshold) for of_class in more)
        added = [(s[there], b[there]) for (s, b), there in zip(more, each, strict=True)]
        classes = (
            (torch.cat([s, s2]), torch.cat([b, b2]))
            for (s, b), (s2, b2) in zip(classes, added, strict=True)
        )
    kept = [
        _suppress_class(number, *of_class, overlap, voting)
        for number, of_class in enumerate(classes)
    ]
    detected = Detected(*map(torch.cat, zip(*kept, strict=True)))
    order = detected.scores.sort(descending=True, stable=True).indices[:most]
    return Detected(*(each[order] for each in detected))


def _are_detections(scores: Tensor, boxes: Tensor, threshold: float) -> Tensor:
    return (scores > threshold) & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


def _suppress_class(
    number: int, scores: Tensor, boxes: Tensor, overlap: float, voting: bool
) -> Detected:
    # One class at a time: torchvision's way to suppress all at once moves the classes apart by
    # offsets, which rounds the boxes, and compares all with all.
    kept = nms(boxes, scores, overlap)
    places = vote(boxes[kept], boxes, scores) if voting else boxes[kept]
    return Detected(places, scores[kept], torch.full_like(kept, number))
