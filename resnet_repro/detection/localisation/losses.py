"""The loss of localisation: an anchor or a region is learned by its image's class alone.

[He15] App. C has a binary logistic output for each class and does not say which of the 1000 learn
from a sample. Ours are those of the image's class: its positive and negative samples are one to
one, as the paper wants them, where other classes would have negative ones only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def class_loss(
    logits: Tensor, deltas: Tensor, is_object: Tensor, aims: Tensor, numbers: Tensor, beta: float
) -> Tensor:
    """Return the mean loss of some photographs, a differentiable fp32 scalar.

    A photograph's is the mean over its samples of cross-entropy plus, for objects, the smooth L1
    loss of their offsets. So each counts the same, in whatever process and with how many samples.

    Args:
        logits: (n,), of the samples of all photographs.
        deltas: (n, 4).
        is_object: (n,), bool.
        aims: (n, 4), what the offsets of objects are to be.
        numbers: (m,), int64, how many of the samples are of each photograph, one after the other.
        beta: Where smooth L1 turns linear.
    """
    losses = F.binary_cross_entropy_with_logits(logits, is_object.float(), reduction="none")
    boxes = F.smooth_l1_loss(deltas, aims, beta=beta, reduction="none").sum(dim=1)
    losses = losses + torch.where(is_object, boxes, 0.0)
    shares = (1 / numbers.clamp(min=1)).repeat_interleave(numbers)
    return (losses * shares).sum() / len(numbers)


def num_wrong(logits: Tensor, is_object: Tensor) -> Tensor:
    """Return the number of samples on the wrong side of one half, a scalar."""
    return ((logits.detach() > 0) != is_object).sum()
