"""Batch norm's running averages in a run of several processes.

Each process's averages follow the batch-norm groups that it computes. They move linearly, so their
mean over the processes is what one process would have. Training does not read it; tests and
checkpoints need it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnet_repro.distributed.group import Group


def running_averages(model: nn.Module) -> dict[str, Tensor]:
    """Return batch norm's running means and variances, by their names in the state dict."""
    return {
        f"{name}.{kind}": average
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        for kind in ("running_mean", "running_var")
        if (average := getattr(module, kind)) is not None
    }


@contextmanager
def averaged(model: nn.Module, group: Group) -> Iterator[list[dict[str, Tensor]]]:
    """Let a network have the mean of all processes' averages, as a context.

    At its end each process has its own again: neither a test nor a checkpoint changes a run.

    Args:
        model: The network.
        group: The processes that train it, each of which calls this.

    Yields:
        Each process's own averages, by rank; none in a group of one.
    """
    averages = running_averages(model)
    if group.size == 1 or not averages:
        yield []
        return
    own = torch.cat([average.flatten() for average in averages.values()])
    every = torch.stack(group.all_gather(own))  # (processes, values)
    # So that the mean of equal averages is that average, to the last bit.
    mean = every[0] + (every - every[0]).mean(dim=0)
    each = [_divided(values, averages) for values in every]
    try:
        _set(averages, _divided(mean, averages))
        yield each
    finally:
        _set(averages, each[group.rank])


def restore_own(model: nn.Module, every: list[dict[str, Tensor]], group: Group) -> None:
    """Restore a process's own averages of a checkpoint, if it has those of as many processes.

    Otherwise the processes start from the mean, which the checkpoint's weights include.

    Args:
        model: The network, with the checkpoint's weights.
        every: What `averaged` gave when the checkpoint was saved.
        group: The processes that resume the run.
    """
    if len(every) == group.size:
        _set(running_averages(model), every[group.rank])


def _divided(values: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the parts of a flat tensor in the shapes of other tensors."""
    parts = torch.split(values, [each.numel() for each in like.values()])
    return {
        name: part.view_as(each) for (name, each), part in zip(like.items(), parts, strict=True)
    }


def _set(averages: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, average in averages.items():
        average.copy_(values[name])
