"""Testing a network: every image once, in counts that add up over batches and processes.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

import torch
from torch import Tensor, nn

from resnet_repro.data import Feed
from resnet_repro.distributed.group import SINGLE_PROCESS, Flag, Group
from resnet_repro.engine.classification import Counts, count_errors
from resnet_repro.engine.cuda_graph import GraphedCallable
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.signals import StoppedRun
from resnet_repro.settings.evaluation import EvaluationConfig

UNREAD = -1.0


class Classifier:
    """A network as it is tested: images in, class probabilities out; batch norm averages.

    Args:
        model: The network, on its device; between tests it may be trained.
        execution: How it is computed.
    """

    def __init__(self, model: nn.Module, execution: Execution) -> None:
        self.model, self._execution = model, execution

        # Not a method: its graphs would live until the garbage collector comes, in the middle of
        # another run's capture, which the freeing of a graph would break.
        def compute(images: Tensor) -> Tensor:
            with execution.autocast, execution.uncompiled():
                logits: Tensor = model(images)
            return logits.float().softmax(dim=1)

        self._probabilities = GraphedCallable(compute, captured=execution.graph, what="the test")

    def __call__(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, classes); not for a network in training mode."""
        return self._probabilities(self._execution.to_memory_format(images))


@torch.inference_mode()
def predict(
    classifier: Classifier,
    feed: Feed,
    evaluation: EvaluationConfig,
    stop: Flag | None = None,
) -> Tensor:
    """Return class probabilities summed over an image's views, (N, classes); batch norm averages.

    A row is below 0 where the image could not be read. Images are those of this process. The papers
    average the scores of the softmax ([He15] Sec. 3.4 and the authors' notes on their models).

    Raises:
        StoppedRun: `stop` was set, which has no signals of its own.
    """
    model = classifier.model
    training = model.training
    model.eval()
    scores: Tensor | None = None
    with closing(feed.test(evaluation)) as tested, _algorithms_for(evaluation):
        for positions, views in tested:
            if stop is not None and stop.is_set():
                raise StoppedRun("stopped in a test, which the same line begins again")
            flat = views.flatten(0, 1)
            # As many pixels per pass as `batch_size` crops have, however large the maps.
            pixels = evaluation.batch_size * evaluation.crop**2 // flat[0, 0].numel()
            single = evaluation.protocol == "single_view"
            parts = torch.split(flat, evaluation.batch_size if single else max(1, pixels))
            probabilities = torch.cat([classifier(part) for part in parts])
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


@contextmanager
def _algorithms_for(evaluation: EvaluationConfig) -> Iterator[None]:
    """Have cuDNN try its algorithms only where most passes have one shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before and evaluation.protocol != "multi_scale"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def evaluate_model(
    classifier: Classifier, feed: Feed, evaluation: EvaluationConfig, group: Group = SINGLE_PROCESS
) -> Counts:
    """Test a network; see `count_errors` for what is returned."""
    return count_errors(predict(classifier, feed, evaluation), feed.test_labels, group)


@contextmanager
def reestimated(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    bn_batch: int | None,
    execution: Execution,
    group: Group = SINGLE_PROCESS,
) -> Iterator[None]:
    """Have batch norm use the mean of its statistics over some training images.

    So it is in [He15]'s released models: "the mean/variance is computed by the average over a
    sufficiently large training batch after the training procedure". Statistics are each group's;
    their own averages are put back afterwards.

    Args:
        model: The network.
        batches: Inputs and labels of training images.
        bn_batch: Images that share statistics; None takes a batch whole.
        execution: How it is computed.
        group: The processes that share the images.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
    number = 0
    with torch.no_grad(), execution.autocast, execution.uncompiled():
        for images, _ in batches:
            for part in torch.split(execution.to_memory_format(images), bn_batch or len(images)):
                number += 1
                for norm in norms:
                    norm.momentum = 1 / number  # the mean over all; the first replaces what was
                model(part)
    averages = [a for norm in norms for a in (norm.running_mean, norm.running_var) if a is not None]
    group.all_reduce_mean(averages)
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.load_state_dict(kept)
        model.train(training)
