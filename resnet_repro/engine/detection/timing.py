"""The training of a detector on a made-up photograph, to time it without data."""

import torch

from resnet_repro.detection.complexity import usual_size
from resnet_repro.detection.feed import Sample
from resnet_repro.detection.pyramid import Photograph
from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine.detection.restore import new_detector
from resnet_repro.engine.detection.step import DetectorStep
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.interleave import Loop
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.settings.run import RunConfig

NUM_OBJECTS = 8  # photographs of COCO have 7 on average


def detector_loop(config: RunConfig, execution: Execution) -> Loop:
    """Take a run's training steps on one photograph of noise, endlessly.

    It has the usual size, and its proposals are around its objects, so that there are as many
    regions to sample as are wanted.
    """
    device, generator = execution.device, torch.Generator().manual_seed(0)
    height, width = usual_size(config)
    image = torch.randn(3, height, width, generator=generator).to(device)
    sides = torch.tensor([width, height, width, height])
    corners = 0.6 * torch.rand(NUM_OBJECTS, 2, generator=generator)
    lengths = 0.1 + 0.3 * torch.rand(NUM_OBJECTS, 2, generator=generator)
    objects = torch.cat([corners, corners + lengths], dim=1)
    number = config.detector.num_proposals // NUM_OBJECTS + 1
    moved = objects + 0.05 * torch.randn(number, NUM_OBJECTS, 4, generator=generator)
    low, high = moved.view(-1, 2, 2).aminmax(dim=1)
    given = (torch.cat([low, high], dim=1).clamp(0, 1) * sides).to(device)
    classes = torch.zeros(NUM_OBJECTS, dtype=torch.int64, device=device)
    photograph = Photograph(height, width, lambda *_: image)
    sample = Sample(0, photograph, False, (objects * sides).to(device), classes)
    model = execution.prepare(new_detector(config)).train()
    step = DetectorStep(
        model,
        build_optimizer(model, config.recipe, config.detector.bias_lr),
        config,
        execution,
        SINGLE_PROCESS,
        lambda _: given,
        1,
    )
    iteration = 0
    while True:
        step(iteration, [sample])
        iteration += 1
        yield
