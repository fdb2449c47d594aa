"""The training of localisation on noise, to time it without data."""

import torch

from resnet_repro.detection.anchors import STRIDE
from resnet_repro.detection.localisation.complexity import num_views
from resnet_repro.detection.localisation.feed import ClassSample
from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine.detection.restore import new_localiser
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.interleave import Loop
from resnet_repro.engine.localisation.step import make_step
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.settings.run import RunConfig


def localiser_loop(config: RunConfig, execution: Execution) -> Loop:
    """Take a run's training steps on a mini-batch of noise, endlessly."""
    views, size, detector = num_views(config), config.data.image_size, config.detector
    number = detector.sampled_anchors if detector.step == "localisation" else views
    positions = (size // STRIDE) ** 2
    sample = ClassSample(
        0,
        torch.empty(0),
        torch.arange(number) % positions,
        torch.arange(number) % 2 == 0,
        torch.zeros(number, 4),
    )
    samples = [sample] * config.recipe.batch_size
    images = torch.randn(len(samples) * views, 3, size, size, device=execution.device)
    model = execution.prepare(new_localiser(config)).train()
    optimizer = build_optimizer(model, config.recipe, detector.bias_lr)
    step = make_step(model, optimizer, execution, SINGLE_PROCESS, number)
    iteration = 0
    while True:
        step(iteration, samples, images)
        iteration += 1
        yield
