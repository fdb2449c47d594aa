"""How fast this machine trains: a few iterations, timed."""

import time

import torch

from resnet_repro.config import RunConfig
from resnet_repro.engine.device import num_processes
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.step import Step
from resnet_repro.models import build_model

NUM_ITERATIONS = 3


def images_per_second(config: RunConfig) -> float:
    """Time the training of a run's network on random images, after one iteration to warm up.

    Where a run takes several processes, one is timed, and counted as often.

    Raises:
        UserError: This machine lacks the device or the precision.
    """
    execution = choose_execution(config)
    device = execution.device
    model = execution.place(build_model(config.model)).train()
    optimizer = build_optimizer(model, config.recipe)
    size, recipe = config.data.image_size, config.recipe
    # One batch-norm group tells enough of a network that is large.
    batch_size = recipe.bn_batch or recipe.batch_size
    step = Step(model, optimizer, None, execution)
    images = torch.randn(batch_size, 3, size, size, device=device)
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)
    begin = 0.0
    for iteration in range(1 + NUM_ITERATIONS):
        if iteration == 1:
            begin = time.perf_counter()
        step(images, labels).tolist()  # waits for the device
    seconds = time.perf_counter() - begin
    return num_processes(config) * NUM_ITERATIONS * batch_size / seconds
