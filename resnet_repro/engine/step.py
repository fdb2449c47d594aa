"""One SGD step on a mini-batch, or on this process's share of it."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD

from resnet_repro.distributed.group import SINGLE_PROCESS, Group, without_sync
from resnet_repro.engine.classification import loss_and_errors
from resnet_repro.engine.execution import Execution
from resnet_repro.errors import UserError
from resnet_repro.kernels.batch_norm import group_momentum
from resnet_repro.models.layers import BatchNorm


class Step:
    """The computation of an iteration: forward, backward and update.

    Images that share batch-norm statistics are a group. The network is computed once for the whole
    mini-batch, in which batch norm alone knows groups; or once for each group (`accumulate`), whose
    gradients then add up, which needs less memory. Either way, batch norm's running averages move
    once per iteration, with momentum 0.1 towards the mean of this process's groups;
    `averages.averaged` has their mean over the processes.

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
        self._optimizer, self._execution = optimizer, execution
        self._norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        at_once = not execution.accumulate and all(isinstance(m, BatchNorm) for m in self._norms)
        # The number of images that are computed at once; None for all.
        self._size = None if at_once else bn_batch
        self._momenta = [norm.momentum for norm in self._norms]
        if self._size is not None and None in self._momenta:
            raise UserError(
                f"recipe.bn_batch={bn_batch}: a batch norm of this network averages over all "
                f"iterations (momentum=None), not over groups; set recipe.bn_batch=null"
            )
        for norm in self._norms:
            if isinstance(norm, BatchNorm):
                norm.group_size = bn_batch if self._size is None else None
        self._model = group.parallel(model, next(model.parameters()).device)

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
        size = self._size or len(labels)
        parts = list(zip(torch.split(images, size), torch.split(labels, size), strict=True))
        for number, (part, targets) in enumerate(parts, start=1):
            self._weigh_averages(number, len(parts))
            with without_sync(self._model, wanted=number < len(parts)):
                with self._execution.autocast:
                    logits = self._model(part)
                loss, num_errors = loss_and_errors(logits, targets)
                (loss / len(labels)).backward()  # type: ignore[no-untyped-call]
            totals[0] += loss.detach()
            totals[1] += num_errors
        self._optimizer.step()
        return totals

    def _weigh_averages(self, number: int, num_parts: int) -> None:
        """Let the group computed next move the averages by its part of the momentum."""
        if num_parts > 1:
            for norm, momentum in zip(self._norms, self._momenta, strict=True):
                assert momentum is not None, "refused above"
                norm.momentum = group_momentum(momentum, number, num_parts)
