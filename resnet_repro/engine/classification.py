"""Image classification, the task of a network: its loss, and the counts of a test."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.errors import UserError

Counts = dict[str, Any]


def loss_and_errors(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy, summed over images, and the number of errors.

    Args:
        logits: (B, classes), in any precision; the loss is computed in fp32.
        labels: (B,).

    Returns:
        Two scalars on the device; the first is differentiable.
    """
    loss = F.cross_entropy(logits.float(), labels, reduction="sum")
    return loss, (logits.argmax(dim=1) != labels).sum()


def count_errors(scores: Tensor, labels: Tensor, group: Group = SINGLE_PROCESS) -> Counts:
    """Count the errors of all processes.

    Args:
        scores: (N, classes), the scores of this process's images; below 0 if unreadable.
        labels: (N,).
        group: The processes that share the test.

    Returns:
        `num_images`, the images tested; `num_errors`, their top-1 errors; `num_errors_top5`, their
        top-5 errors, if there are more than five classes.

    Raises:
        UserError: No image could be read.
    """
    seen = ~(scores[:, 0] < 0)  # a diverged network's scores are nan, and are counted
    scores, labels = scores[seen], labels[seen]
    classes = scores.shape[1]
    ranked = scores.topk(min(5, classes), dim=1).indices == labels[:, None]
    counts = torch.stack([(~ranked[:, 0]).sum(), (~ranked.any(dim=1)).sum(), seen.sum()]).to(
        torch.int64
    )
    num_errors, num_errors_top5, num_images = group.all_reduce_sum(counts).tolist()
    if not num_images:
        raise UserError("none of the test images can be read")
    result = {"num_errors": num_errors, "num_images": num_images}
    return result | ({"num_errors_top5": num_errors_top5} if classes > 5 else {})
