"""One SGD step on a mini-batch, or on this process's share of it."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD

from resnet_repro.distributed.group import SINGLE_PROCESS, Group, without_sync
from resnet_repro.engine.classification import loss_and_errors
from resnet_repro.engine.execution import Execution

BN_MOMENTUM = 0.1


class Step:
    """The computation of an iteration: forward, backward and update.

    Images that share batch-norm statistics are a group. The groups' gradients add up to that of the
    whole mini-batch, as on GPUs with one group each. Batch norm's running averages move once per
    iteration, with momentum 0.1 towards the mean of all groups, whether these are computed one
    after the other, in parallel, or both.

    The step reads no value from the device, so it can be captured as a CUDA graph.

    Args:
        model: The network, in training mode, on its device.
        optimizer: The optimizer of its weights.
        bn_batch: The number of images in a group; None for one group.
        execution: The way the network is computed.
        group: The processes that share the mini-batch.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: SGD,
        bn_batch: int | None,
        execution: Execution,
        group: Group = SINGLE_PROCESS,
    ) -> None:
        self._optimizer, self._bn_batch, self._execution = optimizer, bn_batch, execution
        self._group = group
        self._model = group.parallel(model, next(model.parameters()).device)
        self._norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        self._averages = [
            average
            for norm in self._norms
            for average in (norm.running_mean, norm.running_var)
            if average is not None
        ]

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take the step.

        Args:
            images: (B, C, H, W), the inputs of this process's share.
            labels: (B,).

        Returns:
            (2,), on the device: the summed loss and the number of errors of this process's share,
            before the update.
        """
        self._optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(2, device=images.device)
        images = self._execution.to_memory_format(images)
        size = self._bn_batch or len(labels)
        groups = list(zip(torch.split(images, size), torch.split(labels, size), strict=True))
        for number, (part, targets) in enumerate(groups, start=1):
            self._weigh_averages(number, len(groups))
            with without_sync(self._model, wanted=number < len(groups)):
                with self._execution.autocast:
                    logits = self._model(part)
                loss, num_errors = loss_and_errors(logits, targets)
                (loss / len(labels)).backward()  # type: ignore[no-untyped-call]
            totals[0] += loss.detach()
            totals[1] += num_errors
        self._group.all_reduce_mean(self._averages)
        self._optimizer.step()
        return totals

    def _weigh_averages(self, number: int, num_groups: int) -> None:
        """Make the averages end at 0.9 old + 0.1 mean of the groups' statistics.

        Each of G groups has weight c = 0.1 / G. Batch norm multiplies the averages by 1 - c, so
        they are divided by 1 - c first; before the first group they are also multiplied by 0.9.
        """
        if num_groups == 1:
            return
        each = BN_MOMENTUM / num_groups
        for norm in self._norms:
            norm.momentum = each
        keep = 1 - BN_MOMENTUM if number == 1 else 1.0
        torch._foreach_mul_(self._averages, keep / (1 - each))
