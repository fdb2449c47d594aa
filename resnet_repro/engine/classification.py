"""The task of a network: to tell the class of an image. Its loss, and what a test counts."""

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_repro.distributed.group import SINGLE_PROCESS, Group

Counts = dict[str, int]


def loss_and_errors(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy, summed over images, and the number of errors.

    Args:
        logits: (B, classes), in any precision; the loss is taken in fp32.
        labels: (B,).

    Returns:
        Two scalars on the device; the first is to be differentiated.
    """
    loss = F.cross_entropy(logits.float(), labels, reduction="sum")
    return loss, (logits.argmax(dim=1) != labels).sum()


def count_errors(scores: Tensor, labels: Tensor, group: Group = SINGLE_PROCESS) -> Counts:
    """Count over all processes.

    Args:
        scores: (N, classes), of this process's images.
        labels: (N,).
        group: The processes that share the test.

    Returns:
        `num_errors`, the images whose most probable class is wrong; `num_errors_top5`, those whose
        class is not among the five most probable, where there are more than five; of `num_images`.
    """
    seen = ~(scores[:, 0] < 0)  # the scores of a network that diverged are nan, and count
    scores, labels = scores[seen], labels[seen]
    classes = scores.shape[1]
    ranked = scores.topk(min(5, classes), dim=1).indices == labels[:, None]
    counts = torch.stack([(~ranked[:, 0]).sum(), (~ranked.any(dim=1)).sum(), seen.sum()]).to(
        torch.int64
    )
    num_errors, num_errors_top5, num_images = group.all_reduce_sum(counts).tolist()
    result = {"num_errors": num_errors, "num_images": num_images}
    return result | ({"num_errors_top5": num_errors_top5} if classes > 5 else {})


def in_words(counts: Counts) -> str:
    """Return `error 8.31 %, top-5 0.42 %`."""
    text = f"error {100 * counts['num_errors'] / counts['num_images']:.2f} %"
    if "num_errors_top5" in counts:
        text += f", top-5 {100 * counts['num_errors_top5'] / counts['num_images']:.2f} %"
    return text
