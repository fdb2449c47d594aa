"""Where objects of a class are in a photograph.

Boxes (n, 4) are x1 y1 x2 y2 in pixels of the photograph, scores are logits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

from resnet_repro.data import Inputs
from resnet_repro.detection.anchors import grid
from resnet_repro.detection.boxes import REGION_STD, clip, decode
from resnet_repro.detection.localisation.looks import Look, warped
from resnet_repro.detection.localisation.networks import ClassProposer, ClassRegions
from resnet_repro.detection.pyramid import CANDIDATES

OVERLAP = 0.7  # IoU above which the lower of two proposals is suppressed ([Ren15] Sec. 3.3)


@torch.inference_mode()
def boxes_of_class(
    network: ClassProposer,
    inputs: Inputs,
    looks: Sequence[Look],
    photograph: Tensor,
    label: int,
    anchors: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Return the boxes (n, 4) and scores (n,) of all anchors of all looks for a class, best first.

    Args:
        network: The network, in eval mode.
        inputs: Its normalisation.
        looks: Parts or sizes of the photograph.
        photograph: (3, H, W).
        label: The class.
        anchors: Scales of the anchors.
    """
    boxes, scores = [], []
    labels = torch.tensor([label], device=photograph.device)
    for look in looks:
        hidden = network.hidden(inputs.normalise(look.pixels[None]))
        logits, deltas = network.proposer.of_classes(hidden, labels)
        rows, columns = hidden.shape[-2:]
        places = grid(rows, columns, anchors, hidden.device)
        boxes.append(look.to_photograph(decode(places, deltas[0])))
        scores.append(logits[0])
    found, order = torch.cat(scores).sort(descending=True, stable=True)
    return clip(torch.cat(boxes)[order], *photograph.shape[1:]), found


def best_proposals(boxes: Tensor, scores: Tensor, number: int) -> Tensor:
    """Return the best proposals among the boxes of a class, best first: (m, 4).

    Args:
        boxes: (n, 4), best first.
        scores: (n,).
        number: How many remain, at most.
    """
    usable = (boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1).nonzero().flatten()[:CANDIDATES]
    boxes, scores = boxes[usable], scores[usable]
    return boxes[nms(boxes, scores, OVERLAP)[:number]]


@torch.inference_mode()
def rescored(
    network: ClassRegions,
    inputs: Inputs,
    photograph: Tensor,
    regions: Tensor,
    label: int,
    size: int,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Return where R-CNN moves regions (n, 4) for a class, (n, 4), and their scores (n,).

    Args:
        network: The network, in eval mode.
        inputs: Its normalisation.
        photograph: (3, H, W), uint8.
        regions: (n, 4).
        label: The class.
        size: Height and width of a warped region.
        batch_size: Regions per forward pass.
    """
    boxes, scores = [regions.new_zeros(0, 4)], [regions.new_zeros(0)]
    for part in torch.split(regions, batch_size) if len(regions) else ():
        labels = torch.full((len(part),), label, device=regions.device)
        logits, deltas = network(inputs.normalise(warped(photograph, part, size)), labels)
        boxes.append(decode(part, deltas * deltas.new_tensor(REGION_STD)))
        scores.append(logits)
    return clip(torch.cat(boxes), *photograph.shape[1:]), torch.cat(scores)
