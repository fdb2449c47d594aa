"""Testing a network: each image once, with counts that add up over batches and processes.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnet_repro.data import Feed
from resnet_repro.distributed.group import SINGLE_PROCESS, Flag, Group
from resnet_repro.engine.classification import Counts, count_errors
from resnet_repro.engine.cuda_graph import GraphedCallable
from resnet_repro.engine.execution import Execution
from resnet_repro.errors import StoppedRun
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.run import RunConfig

UNREAD = -1.0


class Classifier:
    """A network in a test: images in, class probabilities out, batch norm with its averages.

    Args:
        model: The network, on its device; it may be trained between tests.
        execution: The way the network is computed.
        stream: The stream on which tests are captured as CUDA graphs; None runs them eagerly, as is
            best for a single test.
    """

    def __init__(
        self,
        model: nn.Module,
        execution: Execution,
        stream: torch.cuda.Stream | None = None,
    ) -> None:
        self.model, self._execution = model, execution

        # Not a method: its reference cycle would keep the graphs until a garbage collection, maybe
        # during another run's capture, which freeing a graph breaks.
        def compute(images: Tensor) -> Tensor:
            with execution.autocast, execution.uncompiled():
                logits: Tensor = model(images)
            return logits.float().softmax(dim=1)

        self._probabilities = GraphedCallable(compute, stream, what="the test")

    def __call__(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, classes); the network must be in eval mode."""
        return self._probabilities(self._execution.to_memory_format(images))


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Set a network to eval mode, and back to its mode at the end."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@torch.inference_mode()
def predict(
    classifier: Classifier,
    feed: Feed,
    evaluation: EvaluationConfig,
    stop: Flag | None = None,
    group: Group = SINGLE_PROCESS,
) -> Tensor:
    """Return the class probabilities of this process's images, summed over views, (N, classes).

    A row is below 0 if its image could not be read. The papers average the scores of the softmax
    ([He15] Sec. 3.4 and the authors' notes on their models).

    Raises:
        StoppedRun: `stop` was set, in any of the processes.
    """
    stopped = False
    scores: Tensor | None = None
    with (
        eval_mode(classifier.model),
        closing(feed.test(evaluation)) as tested,
        _algorithms_for(evaluation),
    ):
        for positions, views in tested:
            stopped = stop is not None and stop.is_set()
            if stopped:
                break
            if not len(positions):  # more processes than images
                continue
            flat = views.flatten(0, 1)
            # As many pixels per pass as `batch_size` crops, for views of any size.
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
    # All processes stop: one that does not would wait for the others' counts.
    if stop is not None and group.all_reduce_any(stopped)[0]:
        raise StoppedRun("stopped during a test; run the same command to repeat it")
    if scores is None:
        return torch.full((len(feed.test_labels), 1), UNREAD, device=feed.test_labels.device)
    return scores


@contextmanager
def _algorithms_for(evaluation: EvaluationConfig) -> Iterator[None]:
    """Let cuDNN benchmark its algorithms only if most passes have the same shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before and evaluation.protocol != "multi_scale"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def evaluate_model(
    classifier: Classifier,
    feed: Feed,
    evaluation: EvaluationConfig,
    stop: Flag | None = None,
    group: Group = SINGLE_PROCESS,
) -> Counts:
    """Test a network, as `predict` does; return the counts of `count_errors`."""
    scores = predict(classifier, feed, evaluation, stop, group)
    return count_errors(scores, feed.test_labels, group)


def decoded_by(config: RunConfig) -> dict[str, str]:
    """Return what a record of a test says of how photographs were decoded: if not by the CPU."""
    return {"decode": "cuda"} if config.decodes_on_gpu else {}


@contextmanager
def reestimated(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    bn_batch: int | None,
    execution: Execution,
    group: Group = SINGLE_PROCESS,
    stop: Flag | None = None,
) -> Iterator[None]:
    """Let batch norm use its mean statistics over some training images, as a context.

    As in [He15]'s released models: "the mean/variance is computed by the average over a
    sufficiently large training batch after the training procedure". Statistics are per batch-norm
    group; the context restores the running averages on exit.

    Args:
        model: The network.
        batches: Inputs and labels of training images.
        bn_batch: The number of images that share statistics; None for a whole batch.
        execution: The way the network is computed.
        group: The processes that share the images.
        stop: Whether a stop was requested.

    Raises:
        StoppedRun: It was.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
    number, stopped = 0, False
    try:
        with torch.no_grad(), execution.autocast, execution.uncompiled():
            for images, _ in batches:
                stopped = stop is not None and stop.is_set()
                if stopped:
                    break
                shaped = execution.to_memory_format(images)
                for part in torch.split(shaped, bn_batch or len(images)):
                    number += 1
                    for norm in norms:
                        norm.momentum = 1 / number  # the mean of all so far, without the averages
                    model(part)
        if stop is not None and group.all_reduce_any(stopped)[0]:
            raise StoppedRun(
                "stopped while batch norm was re-estimated; run the same command to repeat it"
            )
        group.all_reduce_mean(
            [a for norm in norms for a in (norm.running_mean, norm.running_var) if a is not None]
        )
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.load_state_dict(kept)
        model.train(training)
