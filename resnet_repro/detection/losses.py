"""The losses of a detector, for one photograph at a time.

A mini-batch's loss is the mean over its photographs of `Loss.mean`, so that each counts the same,
whatever process computes it and however many regions were found to sample.

[Ren15]  Faster R-CNN, arXiv:1506.01497; constants as in its released code
[Gir15]  Fast R-CNN, arXiv:1504.08083
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_repro.detection.targets import AnchorTargets, RegionTargets

ANCHOR_BETA, REGION_BETA = 1 / 9, 1.0  # where smooth L1 turns linear: 1 / sigma^2, sigma 3 and 1


@dataclass(frozen=True)
class Loss:
    """A photograph's loss: sums over its samples, differentiable fp32 scalars.

    Attributes:
        classification: Cross-entropy, summed.
        boxes: Smooth L1 of the deltas of those that are objects, summed.
        number: Number of samples: anchors or regions.
    """

    classification: Tensor
    boxes: Tensor
    number: int

    @property
    def mean(self) -> Tensor:
        """Return both parts divided by the number of samples, added; 0 without samples."""
        return (self.classification + self.boxes) / max(1, self.number)


def proposal_loss(logits: Tensor, deltas: Tensor, targets: AnchorTargets) -> Loss:
    """Return the loss of the region proposal network ([Ren15] Eq. 1).

    Both terms are averaged over the sampled anchors, with equal weights, as in the released code;
    the paper's N_cls = 256, N_reg = 2400 and lambda = 10 are about the same.

    Args:
        logits: (m, 2), of all anchors: background, object; any precision.
        deltas: (m, 4).
        targets: Those of the photograph.
    """
    chosen = targets.indices
    return _loss(logits[chosen], deltas[chosen], targets.labels, targets.deltas, ANCHOR_BETA)


def region_loss(logits: Tensor, deltas: Tensor, targets: RegionTargets) -> Loss:
    """Return the loss of Fast R-CNN ([Gir15] Eq. 1): both terms averaged over all regions.

    Args:
        logits: (b, K+1), of the sampled regions, background first; any precision.
        deltas: (b, K+1, 4), normalised, of each class.
        targets: Those of the photograph.
    """
    rows = torch.arange(len(logits), device=logits.device)
    own = deltas[rows, targets.labels]
    return _loss(logits, own, targets.labels, targets.deltas, REGION_BETA)


def _loss(logits: Tensor, deltas: Tensor, labels: Tensor, aims: Tensor, beta: float) -> Loss:
    is_object = labels > 0
    classification = F.cross_entropy(logits.float(), labels, reduction="sum")
    boxes = F.smooth_l1_loss(deltas[is_object].float(), aims[is_object], beta=beta, reduction="sum")
    return Loss(classification, boxes, len(labels))
