"""The operator y = relu(bn(x) + h): batch norm over groups of images, an addition and a ReLU.

Shapes: N images, C channels, H x W pixels, G groups of N / G images each. Images of a group share
their statistics; the groups lie one after the other.

Batch norm, addition and ReLU read and write the same maps, so one operator needs half of the memory
traffic of three, and one convolution of all groups is faster than one of each.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from resnet_repro.kernels.interface import Kernels, Norm


def batch_norm(
    x: Tensor,
    norm: Norm,
    added: Tensor | None = None,
    *,
    num_groups: int = 1,
    kernels: Kernels | None = None,
) -> Tensor:
    """Compute the operator in training: with the statistics of x.

    Args:
        x: (N, C, H, W).
        norm: The batch norm.
        added: (N, C, H, W), added before the ReLU.
        num_groups: G.
        kernels: The implementation; None for plain torch.

    Raises:
        ValueError: A group has one value per channel only, which has no variance.
    """
    if kernels is None or not kernels.takes(x):
        return plain(x, norm, added, num_groups)
    if x.numel() == num_groups * x.shape[1]:
        raise ValueError(f"batch norm needs more than 1 value per channel, got {tuple(x.shape)}")
    y, second = FusedBatchNorm.apply(x, added, norm.weight, norm.bias, norm, num_groups, kernels)
    y._again = second
    return y  # type: ignore[no-any-return]


def again(x: Tensor) -> Tensor:
    """Return x for its second use, at a block's shortcut.

    If the operator made x, the gradient of this use reaches it apart, and is added to the other in
    a pass that reads both anyway.
    """
    second: Tensor = getattr(x, "_again", x)
    return second


def batch_norm_of_averages(
    x: Tensor, norm: Norm, added: Tensor | None = None, kernels: Kernels | None = None
) -> Tensor:
    """Compute the operator in a test: with the running averages as statistics."""
    if kernels is not None and kernels.takes(x) and not torch.is_grad_enabled():
        return kernels.evaluate(x, added, norm)
    y = F.batch_norm(x, norm.mean, norm.var, norm.weight, norm.bias, eps=norm.eps)
    return _add_and_rectify(y, norm, added)


def plain(x: Tensor, norm: Norm, added: Tensor | None = None, num_groups: int = 1) -> Tensor:
    """Compute the operator with torch's own, one group after the other: the reference."""
    parts = [
        F.batch_norm(
            part,
            norm.mean,
            norm.var,
            norm.weight,
            norm.bias,
            training=True,
            momentum=group_momentum(norm.momentum, number, num_groups),
            eps=norm.eps,
        )
        for number, part in enumerate(x.chunk(num_groups), start=1)
    ]
    return _add_and_rectify(parts[0] if num_groups == 1 else torch.cat(parts), norm, added)


def group_momentum(momentum: float, number: int, num_groups: int) -> float:
    """Return the momentum of one of several groups that move the averages in turn.

    In the end the averages have moved by `momentum` towards the mean of the groups' statistics: the
    part of each, momentum / G, shrinks by what the later ones keep.

    Args:
        momentum: That of the whole mini-batch.
        number: The group's number, from 1.
        num_groups: G.
    """
    each = momentum / num_groups
    return each / (1 - each * (num_groups - number))


def _add_and_rectify(y: Tensor, norm: Norm, added: Tensor | None) -> Tensor:
    if added is not None:
        y = y + added
    return y.relu_() if norm.relu else y


class FusedBatchNorm(torch.autograd.Function):
    """The operator by kernels. It keeps its input, its output and the groups' statistics."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        added: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: Norm,
        num_groups: int,
        kernels: Kernels,
    ) -> tuple[Tensor, Tensor]:
        y, *statistics = kernels.forward(x, added, norm, num_groups)
        ctx.save_for_backward(x, y if norm.relu else None, weight, *statistics)
        ctx.kernels, ctx.adds = kernels, added is not None
        ctx.set_materialize_grads(False)
        return y, y.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, y, weight, mean, rstd = ctx.saved_tensors
        first, *second = (grad for grad in grads if grad is not None)
        of_x, of_weight, of_bias, of_added = ctx.kernels.backward(
            (first, second[0] if second else None), x, y, weight, (mean, rstd), adds=ctx.adds
        )
        return of_x, of_added, of_weight, of_bias, None, None, None
