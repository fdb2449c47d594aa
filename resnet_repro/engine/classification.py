"""The task: one class for each image."""

import torch
from torch import Tensor

from resnet_repro.distributed.group import ALONE, Group

Counts = dict[str, int]


def count_errors(scores: Tensor, labels: Tensor, group: Group = ALONE) -> Counts:
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
    num_errors, num_errors_top5, num_images = group.sum(counts).tolist()
    result = {"num_errors": num_errors, "num_images": num_images}
    return result | ({"num_errors_top5": num_errors_top5} if classes > 5 else {})
