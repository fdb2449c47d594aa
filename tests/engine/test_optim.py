"""The optimizer: SGD as in Caffe, weight decay, and where its momentum lies."""

from dataclasses import replace

import torch
from torch import nn

from resnet_repro.engine.optim import build_optimizer, restore_optimizer, set_learning_rate
from resnet_repro.models import build_model
from resnet_repro.settings.recipe import RecipeConfig
from tests.support.training import EAGER, RECIPE


def test_sgd_is_caffes_while_the_learning_rate_is_constant():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    weight, velocity = model.weight.detach().clone(), torch.zeros(2, 3)
    optimizer = build_optimizer(model, RECIPE)
    for _ in range(4):
        x = torch.randn(5, 3)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        velocity = 0.9 * velocity + 0.1 * (model.weight.grad + 1e-4 * weight)
        weight = weight - velocity
        optimizer.step()
        torch.testing.assert_close(model.weight.detach(), weight)


def test_only_weights_decay_unless_all_do(config):
    model = build_model(config.model)
    decayed, free = build_optimizer(model, RECIPE).param_groups
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert {id(p) for p in decayed["params"]} == {id(w) for w in weights}
    assert (decayed["weight_decay"], free["weight_decay"]) == (1e-4, 0)
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
    everything = RecipeConfig(**{**vars(RECIPE), "decayed": "all"})
    assert len(build_optimizer(model, everything).param_groups) == 1


def test_set_learning_rate_reaches_every_group(config):
    optimizer = build_optimizer(build_model(config.model), RECIPE)
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}


def test_momentum_from_a_machine_with_another_layout_lies_as_the_weights_do(config):
    """Fused steps refuse any other; the values are kept."""
    last, first = replace(EAGER, channels_last=True), EAGER
    models = [how.prepare(build_model(config.model)) for how in (last, first)]
    optimizers = [build_optimizer(model, config.recipe) for model in models]
    for model, optimizer in zip(models, optimizers, strict=True):
        for weight in model.parameters():
            weight.grad = torch.randn_like(weight)
        optimizer.step()
    restore_optimizer(optimizers[1], optimizers[0].state_dict())
    for theirs, ours in zip(*(model.parameters() for model in models), strict=True):
        momentum = optimizers[1].state[ours]["momentum_buffer"]
        assert momentum.stride() == ours.stride()
        torch.testing.assert_close(momentum, optimizers[0].state[theirs]["momentum_buffer"])


def test_a_weight_that_two_layers_share_moves_once(config):
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    optimizer = build_optimizer(model, replace(RECIPE, lr=0.1, momentum=0.0, weight_decay=0.0))
    before = model[0].weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(model[0].weight, before - 0.1 * model[0].weight.grad)
