"""Stochastic gradient descent as the papers use it, and its learning rate.

[He15] trained in Caffe, whose momentum is v = m * v + lr * g, w = w - v; torch's is v = m * v + g,
w = w - lr * v. The two are the same while the learning rate is constant, and differ just after it
changes: a departure that every recipe lists.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.settings.recipe import RecipeConfig


def build_optimizer(model: nn.Module, recipe: RecipeConfig) -> SGD:
    """Build SGD with weight decay on the weights of convolutions and linear layers, or on all.

    On a GPU its learning rate is a value there, so that a captured step follows it, and a step is
    one kernel for all weights.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            weight = isinstance(module, nn.Conv2d | nn.Linear) and name == "weight"
            (decayed if weight or recipe.decayed == "all" else free).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    return SGD(
        [group for group in groups if group["params"]],
        lr=torch.tensor(recipe.lr, device=device) if on_gpu else recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=True if on_gpu else None,
    )


def restore_optimizer(optimizer: SGD, state: dict[str, Any]) -> None:
    """Take over the momentum of a checkpoint; how steps are computed stays as it was built.

    It may come from a machine where weights lie in memory otherwise, and a fused step refuses a
    momentum that does not lie as its weight does.
    """
    optimizer.load_state_dict({**state, "param_groups": optimizer.state_dict()["param_groups"]})
    for weight, own in optimizer.state.items():
        if own.get("momentum_buffer") is not None:
            own["momentum_buffer"] = torch.empty_like(weight).copy_(own["momentum_buffer"])


def learning_rate(
    iteration: int, recipe: RecipeConfig, warmup_end: int | None, num_plateaus: int = 0
) -> float:
    """Return the learning rate of an iteration, counted from 0.

    Args:
        iteration: Number of iterations done before it.
        recipe: The schedule.
        warmup_end: The first iteration after the warm-up, None while its end is not known. The
            training error ends [He15]'s warm-up, so this is not known beforehand.
        num_plateaus: Number of plateaus that the training error reached.
    """
    warmup = recipe.warmup
    end = warmup_end if warmup.iterations is None else warmup.iterations
    if warmup.lr is not None and (end is None or iteration < end):
        return warmup.lr
    num_drops = sum(iteration >= drop for drop in recipe.lr_drops) + num_plateaus
    return recipe.lr * recipe.lr_drop_factor**num_drops


def set_learning_rate(optimizer: SGD, lr: float) -> None:
    """Use a learning rate from the next step on."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
