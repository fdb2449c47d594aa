"""Whether a mini-batch's batch-norm groups are computed at once, or one after the other.

At once is faster, and needs the activations of the whole mini-batch in memory. One after the other,
gradients add up. Both give the same result up to rounding.
"""

from dataclasses import replace

import torch

from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.errors import UserError
from resnet_repro.machine import available_bytes
from resnet_repro.models.complexity import training_bytes
from resnet_repro.settings.external_model import ExternalModelConfig
from resnet_repro.settings.run import RunConfig

OVERHEAD = 1.25  # memory of training over the counted bytes: 1.2 at ResNet-1202 on a CPU


def accumulates(config: RunConfig, device: torch.device, group: Group = SINGLE_PROCESS) -> bool:
    """Return whether the groups are computed one after the other: as set, else if memory needs it.

    Args:
        config: The run's settings.
        device: The device that it is computed on.
        group: The processes that share the mini-batch.

    Raises:
        UserError: `compute.accumulate` is false for a network that cannot be computed so.
    """
    recipe, asked = config.recipe, config.compute.accumulate
    if recipe.bn_batch is None or recipe.bn_batch * group.size >= recipe.batch_size:
        return False  # one group in each process
    if isinstance(config.model, ExternalModelConfig) or config.model.has_dropout:
        # Batch norm of a plugin knows no groups; dropout draws other numbers for a mini-batch.
        if asked is False:
            raise UserError(
                "compute.accumulate=false: networks of plugins, and those with dropout, compute "
                "batch-norm groups one after the other; set compute.accumulate=null"
            )
        return True
    if asked is not None:
        return asked
    limit = memory_bytes(device)
    sharing = 1 if device.type == "cuda" else group.local_size  # the processes that have the memory
    needed = OVERHEAD * training_bytes(at_once(config, group)) * sharing
    return limit is not None and needed > limit


def at_once(config: RunConfig, group: Group = SINGLE_PROCESS) -> RunConfig:
    """Return the settings with a process's share of a mini-batch as one batch-norm group."""
    size = config.recipe.batch_size // group.size
    return replace(config, recipe=replace(config.recipe, batch_size=size, bn_batch=None))


def memory_bytes(device: torch.device) -> int | None:
    """Return the memory of a GPU, or that which is available to a CPU; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return available_bytes()
