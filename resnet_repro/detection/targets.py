"""What a detector's layers are to learn of a photograph: sampled anchors and regions.

Shapes: n objects; boxes (..., 4) are x1 y1 x2 y2 in pixels of the resized photograph.

[Ren15]  Faster R-CNN, arXiv:1506.01497; its released code decides where the paper is silent
[Gir15]  Fast R-CNN, arXiv:1504.08083
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from resnet_repro.data.order import digest_seed
from resnet_repro.detection.boxes import REGION_STD, encode

POSITIVE_ANCHOR, NEGATIVE_ANCHOR = 0.7, 0.3  # IoU: at least, below ([Ren15] Sec. 3.1.2)
FOREGROUND_REGION = 0.5  # IoU, at least ([Gir15] Sec. 2.3)
# IoU of background with an object, at least, where other objects may not be labelled: our choice.
NEAR_AN_OBJECT = 0.1
POSITIVE_SHARE, FOREGROUND_SHARE = 0.5, 0.25  # of a mini-batch's anchors and regions, at most
PURPOSES = ("anchors", "regions")


@dataclass(frozen=True)
class AnchorTargets:
    """Sampled anchors of a photograph.

    Attributes:
        indices: (b,), their places in the list of all anchors; objects first.
        labels: (b,), 1: an object, 0: background.
        deltas: (b, 4), the object's place relative to the anchor; 0 for background.
    """

    indices: Tensor
    labels: Tensor
    deltas: Tensor


@dataclass(frozen=True)
class RegionTargets:
    """Sampled regions of a photograph, objects first.

    Attributes:
        boxes: (b, 4).
        labels: (b,), 0: background, 1 to K: the object's class.
        deltas: (b, 4), the object's place relative to the region, normalised; 0 for background.
    """

    boxes: Tensor
    labels: Tensor
    deltas: Tensor


def generator(seed: int, iteration: int, image: int, purpose: str) -> torch.Generator:
    """Return the generator of a photograph's choices in a training iteration.

    On the CPU, and a function of its arguments only: neither the device, nor the number of
    processes, nor the other photographs of the mini-batch change what is sampled.

    Args:
        seed: The run's seed.
        iteration: The training iteration.
        image: The photograph's position in the training set.
        purpose: `anchors` or `regions`.
    """
    digest = digest_seed(seed, iteration, image, PURPOSES.index(purpose))
    return torch.Generator().manual_seed(digest)


def learned(boxes: Tensor, classes: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes and classes of the objects that a detector is trained on.

    As in [Ren15]'s code, VOC's difficult objects and COCO's crowds are treated as if they were not
    labelled, nor are boxes without area.

    Args:
        boxes: (n, 4).
        classes: (n,).
        ignored: (n,), which objects are difficult or a crowd.
    """
    used = ~ignored & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return boxes[used], classes[used]


def anchor_targets(
    anchors: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    number: int,
    draws: torch.Generator,
    *,
    inside: bool = True,
) -> AnchorTargets:
    """Sample anchors of a photograph ([Ren15] Sec. 3.1.2, 3.1.3).

    Only anchors inside the photograph are used, or all. Positive are those with an IoU of at least
    0.7 with an object, and of each object the anchors that overlap it most; negative are others
    with an IoU below 0.3 with all objects. At most half of the sample is positive; negatives fill
    the rest.

    Args:
        anchors: (m, 4), all anchors of the map.
        boxes: (n, 4), the objects that are `learned`.
        height: Height of the photograph, without padding.
        width: Width of the photograph.
        number: Size of the sample; fewer anchors are returned if there are not as many.
        draws: The generator of the choices.
        inside: Whether anchors that reach beyond the photograph are left out.
    """
    usable = (anchors[:, :2] >= 0).all(dim=1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
    places = (usable if inside else torch.ones_like(usable)).nonzero().flatten()
    candidates = anchors[places]
    overlaps: Tensor = box_iou(candidates, boxes)
    best, matched = _best(overlaps)
    # An object that no anchor overlaps has none that overlaps it most.
    is_best = ((overlaps == _best(overlaps.T)[0]) & (overlaps > 0)).any(dim=1)
    positive = (best >= POSITIVE_ANCHOR) | is_best
    negative = (best < NEGATIVE_ANCHOR) & ~positive
    chosen = _sample(positive, negative, int(number * POSITIVE_SHARE), number, draws)
    labels = positive[chosen].to(torch.int64)
    deltas = _deltas(candidates[chosen], boxes, matched[chosen], labels)
    return AnchorTargets(places[chosen], labels, deltas)


def region_targets(
    proposals: Tensor,
    boxes: Tensor,
    classes: Tensor,
    number: int,
    background: tuple[float, float],
    draws: torch.Generator,
) -> RegionTargets:
    """Sample regions of a photograph ([Gir15] Sec. 2.3).

    The objects' own boxes are proposals too. Foreground are those with an IoU of at least 0.5 with
    an object, background those whose largest IoU is in a range. At most a quarter of the sample is
    foreground; background fills the rest.

    Args:
        proposals: (m, 4).
        boxes: (n, 4), the objects that are `learned`.
        classes: (n,), 0 to K-1.
        number: Size of the sample; fewer regions are returned if there are not as many, or none.
        background: Range of IoU, the lower end included.
        draws: The generator of the choices.
    """
    regions = torch.cat([boxes, proposals])
    best, matched = _best(box_iou(regions, boxes))
    low, high = background
    foreground = best >= FOREGROUND_REGION
    outside = (best >= low) & (best < high) & ~foreground
    most = max(1, round(number * FOREGROUND_SHARE))
    chosen = _sample(foreground, outside, most, number, draws)
    labels = torch.zeros_like(matched[chosen])
    is_object = foreground[chosen]
    labels[is_object] = classes[matched[chosen][is_object]] + 1
    deltas = _deltas(regions[chosen], boxes, matched[chosen], labels)
    deltas /= deltas.new_tensor(REGION_STD)
    return RegionTargets(regions[chosen], labels, deltas)


def _best(overlaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest IoU of each row and the first object that has it; 0 without objects."""
    if not overlaps.shape[1]:
        nothing = overlaps.new_zeros(len(overlaps))
        return nothing, nothing.to(torch.int64)
    first = overlaps.argmax(dim=1)
    return overlaps.gather(1, first[:, None])[:, 0], first


def _sample(
    objects: Tensor, background: Tensor, most: int, number: int, draws: torch.Generator
) -> Tensor:
    """Return indices of at most `most` objects, filled to `number` with background.

    One order of all candidates is drawn, whatever they are: an IoU that another device rounds to
    the other side of a limit changes the choice of that candidate, not of all.
    """
    order = torch.randperm(len(objects), generator=draws).to(objects.device)
    chosen = order[objects[order]][:most]
    return torch.cat([chosen, order[background[order]][: number - len(chosen)]])


def _deltas(references: Tensor, boxes: Tensor, matched: Tensor, labels: Tensor) -> Tensor:
    """Return the deltas of the objects that references match, (b, 4); 0 for background."""
    deltas = torch.zeros_like(references)
    is_object = labels > 0
    deltas[is_object] = encode(references[is_object], boxes[matched[is_object]])
    return deltas
