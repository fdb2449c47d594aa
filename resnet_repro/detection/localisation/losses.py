"""The loss of localisation: an anchor or a region is learned by its image's class alone.

[He15] App. C has a binary logistic output for each class and does not say which of the 1000 learn
from a sample. Ours are those of the image's class: its positive and negative samples are one to
one, as the paper wants them, where other classes would have negative ones only.
"""

import torch.nn.functional as F
from torch import Tensor

from resnet_repro.detection.losses import Loss


def class_loss(
    logits: Tensor, deltas: Tensor, is_object: Tensor, aims: Tensor, beta: float
) -> Loss:
    """Return the loss of some samples.

    Args:
        logits: (n,).
        deltas: (n, 4).
        is_object: (n,), bool.
        aims: (n, 4), what the offsets of objects are to be.
        beta: Where smooth L1 turns linear.
    """
    classification = F.binary_cross_entropy_with_logits(logits, is_object.float(), reduction="sum")
    boxes = F.smooth_l1_loss(deltas[is_object], aims[is_object], beta=beta, reduction="sum")
    return Loss(classification, boxes, len(logits))


def num_wrong(logits: Tensor, is_object: Tensor) -> Tensor:
    """Return the number of samples on the wrong side of one half, a scalar."""
    return ((logits.detach() > 0) != is_object).sum()
