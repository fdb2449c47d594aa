"""Steps in float64, whose results two ways of computing must share to the last digits."""

from dataclasses import replace

import torch

from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine.averages import averaged
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.step import Step
from resnet_repro.models import build_model
from tests.support.training import EAGER, RECIPE

BATCH = 16


def trained(config, bn_batch, group=SINGLE_PROCESS, *, accumulate=False, recompute=None):
    """Take three steps; return the losses and errors of each, and all weights and averages."""
    execution = replace(EAGER, accumulate=accumulate, recompute=recompute)
    torch.manual_seed(0)
    model = execution.prepare(build_model(config.model).double()).train()
    step = Step(model, build_optimizer(model, RECIPE), bn_batch, execution, group)
    batches = [(torch.randn(BATCH, 3, 16, 16).double(), torch.randint(10, (BATCH,)))
               for _ in range(3)]  # fmt: skip
    size = BATCH // group.size
    own = slice(group.rank * size, (group.rank + 1) * size)
    totals = [step(images[own], labels[own]) for images, labels in batches]
    with averaged(model, group):
        return totals, {name: each.clone() for name, each in model.state_dict().items()}


def save_trained(config, bn_batch, path, recompute, group):
    """Take the steps in one of several processes; the first saves the weights and averages."""
    _, state = trained(config, bn_batch, group, recompute=recompute)
    if group.is_main:
        torch.save(state, path)


def assert_same(ours, theirs):
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-12, atol=1e-12, msg=name)
