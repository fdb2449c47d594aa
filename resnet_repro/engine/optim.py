"""Stochastic gradient descent as the papers use it, and its learning rate.

[He15] trained in Caffe, whose momentum is v = m * v + lr * g, w = w - v; torch's is v = m * v + g,
w = w - lr * v. The two are the same while the learning rate is constant, and differ just after it
changes, which every recipe lists as a deviation.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.settings.recipe import RecipeConfig


def build_optimizer(model: nn.Module, recipe: RecipeConfig, bias_lr: float = 1.0) -> SGD:
    """Build SGD with weight decay on all weights, or on those of layers that multiply by them.

    These are the weights with two dimensions or more: of convolutions, linear layers, attention.
    Weights that need no gradient stay as they are.

    The step is fused over all weights. On a GPU the learning rate is a tensor there, so that a
    captured step reads it.

    Args:
        model: The network, on its device.
        recipe: The recipe.
        bias_lr: Factor of the learning rate for biases.
    """
    # By weight decay and factor of the learning rate.
    parts: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen = set[nn.Parameter]()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:  # two modules may share one
                continue
            seen.add(parameter)
            weight = name.endswith("weight") and parameter.ndim > 1
            decay = recipe.weight_decay if weight or recipe.decayed == "all" else 0.0
            factor = bias_lr if name.endswith("bias") else 1.0
            parts.setdefault((decay, factor), []).append(parameter)
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    groups = [
        {
            "params": weights,
            "weight_decay": decay,
            "factor": factor,
            "lr": torch.tensor(recipe.lr * factor, device=device) if on_gpu else recipe.lr * factor,
        }
        for (decay, factor), weights in sorted(parts.items(), key=lambda part: part[0][0] == 0)
    ]
    return SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=True if device.type in ("cuda", "cpu") else None,
    )


def restore_optimizer(optimizer: SGD, state: dict[str, Any]) -> None:
    """Restore the momentum of a checkpoint, but not the optimizer's options.

    It may come from a machine with another memory format, and a fused step needs each momentum in
    its weight's memory format.
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
        iteration: The number of iterations done before it.
        recipe: The recipe with the schedule.
        warmup_end: The first iteration after the warm-up; None while unknown, as the training error
            ends [He15]'s warm-up.
        num_plateaus: The number of plateaus of the training error so far.
    """
    warmup = recipe.warmup
    end = warmup_end if warmup.iterations is None else warmup.iterations
    if warmup.lr is not None and (end is None or iteration < end):
        return warmup.lr
    num_drops = sum(iteration >= drop for drop in recipe.lr_drops) + num_plateaus
    return recipe.lr * recipe.lr_drop_factor**num_drops


def set_learning_rate(optimizer: SGD, lr: float) -> None:
    """Set the learning rate of the next steps."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * group["factor"])
        else:
            group["lr"] = lr * group["factor"]
