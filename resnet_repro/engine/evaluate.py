"""Testing a network: every image once, in counts that add up over batches and processes.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

import torch
from torch import Tensor, nn

from resnet_repro.data import Feed
from resnet_repro.distributed import ALONE, Flag, Group
from resnet_repro.engine.signals import StoppedRun
from resnet_repro.evaluation import EvaluationConfig

Counts = dict[str, int]
UNREAD = -1.0


@torch.inference_mode()
def predict(
    model: nn.Module,
    feed: Feed,
    evaluation: EvaluationConfig,
    autocast: torch.autocast,
    stop: Flag | None = None,
) -> Tensor:
    """Return class probabilities summed over an image's views, (N, classes); batch norm averages.

    A row is below 0 where the image could not be read. Images are those of this process. The papers
    average the scores of the softmax ([He15] Sec. 3.4 and the authors' notes on their models).

    Raises:
        StoppedRun: `stop` was set, which has no signals of its own.
    """
    training = model.training
    model.eval()
    scores: Tensor | None = None
    with closing(feed.test(evaluation)) as tested:
        for positions, views in tested:
            if stop is not None and stop.is_set():
                raise StoppedRun("stopped in a test, which the same line begins again")
            flat = views.flatten(0, 1)
            # As many pixels per pass as `batch_size` crops have, however large the maps.
            pixels = evaluation.batch_size * evaluation.crop**2 // flat[0, 0].numel()
            single = evaluation.protocol == "single_view"
            parts = torch.split(flat, evaluation.batch_size if single else max(1, pixels))
            outputs = []
            for part in parts:
                with autocast:
                    outputs.append(model(part))
            probabilities = torch.cat(outputs).float().softmax(dim=1)
            if scores is None:
                scores = probabilities.new_full(
                    (len(feed.test_labels), probabilities.shape[1]), UNREAD
                )
            summed = probabilities.view(*views.shape[:2], -1).sum(dim=1)
            scores[positions] = scores[positions].clamp(min=0) + summed
    model.train(training)
    if scores is None:
        return torch.full((len(feed.test_labels), 1), UNREAD, device=feed.test_labels.device)
    return scores


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


def test(
    model: nn.Module,
    feed: Feed,
    evaluation: EvaluationConfig,
    autocast: torch.autocast,
    group: Group = ALONE,
) -> Counts:
    """Test a network; see `count_errors` for what is returned."""
    return count_errors(predict(model, feed, evaluation, autocast), feed.test_labels, group)


@contextmanager
def reestimated(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    bn_batch: int | None,
    autocast: torch.autocast,
    group: Group = ALONE,
) -> Iterator[None]:
    """Have batch norm use the mean of its statistics over some training images.

    So it is in [He15]'s released models: "the mean/variance is computed by the average over a
    sufficiently large training batch after the training procedure". Statistics are each group's;
    their own averages are put back afterwards.

    Args:
        model: The network.
        batches: Inputs and labels of training images.
        bn_batch: Images that share statistics; None takes a batch whole.
        autocast: The precision it is computed in.
        group: The processes that share the images.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with torch.no_grad(), autocast:
        for images, _ in batches:
            for part in torch.split(images, bn_batch or len(images)):
                model(part)
    averages = [a for norm in norms for a in (norm.running_mean, norm.running_var) if a is not None]
    group.average(averages)
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.load_state_dict(kept)
        model.train(training)
