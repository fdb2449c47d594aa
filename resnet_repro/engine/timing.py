"""How fast this machine trains: timed iterations of one loop or of several interleaved ones."""

import logging
import time
from contextlib import closing
from dataclasses import replace

import torch

from resnet_repro.data import make_feed
from resnet_repro.data.images import DataSet, Images
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine.cuda_graph import WARM_UP, GraphedCallable
from resnet_repro.engine.device import choose_device, num_processes, synchronize
from resnet_repro.engine.execution import Execution, choose_execution
from resnet_repro.engine.groups import accumulates
from resnet_repro.engine.interleave import Loop
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.step import Step
from resnet_repro.engine.streams import capture_stream
from resnet_repro.machine import num_cores
from resnet_repro.models import build_model
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

NUM_IMAGES = 10_000  # in the random training set
NUM_FEW = 1000  # in the random training set of `images_per_second`
PART_SECONDS = 0.4  # the time for timing a network for a plan
MOST_CROPS = 16  # of localisation, in a timed mini-batch
LONG_SECONDS = 8.0  # no warm-up if an iteration takes longer


def images_per_second(config: RunConfig) -> float:
    """Time the training of a run's network on random images, for about half a second.

    Other work on the machine only makes it slower, so the fastest of several timings is the best.
    Of a mini-batch whose batch-norm groups are computed one after the other, and of photographs,
    only one group is trained, which is enough for a large network. For a run of several processes
    that do not share cores, one is timed and its speed multiplied.

    Raises:
        UserError: This machine lacks the device or the precision.
    """
    number = num_processes(config)
    if number > 1 and choose_device(config.compute).type == "cuda":
        # Each computes its share of a mini-batch, and several are not captured.
        recipe = replace(config.recipe, batch_size=config.recipe.batch_size // number)
        config = replace(config, recipe=recipe).with_compute(processes=1, graph=False)
    execution = choose_execution(config)
    part = one_group(config) if _by_group(config, execution.device) else config
    loop = _loop(part, execution)
    with closing(loop):
        first = iterate(loop, 1, execution.device)
        # On a GPU the first iteration loads libraries and chooses algorithms, so it is not typical.
        long = first >= LONG_SECONDS and execution.device.type != "cuda"
        if not long:
            for _ in range(WARM_UP if execution.graph else 0):
                next(loop)
            once = iterate(loop, 1, execution.device)
            some = max(1, round(PART_SECONDS / once))
            part_seconds = iterate(loop, some, execution.device)
    seconds = first if long else part_seconds
    if execution.device.type == "cpu":  # they share the cores, all of which one has by default
        threads = config.compute.threads or num_cores()
        number = min(number, max(1, num_cores() // threads))
    return number * part.recipe.batch_size / seconds


def num_timed(config: RunConfig) -> int:
    """Return the least number of images that `images_per_second` trains on."""
    recipe, device = config.recipe, choose_device(config.compute)
    if config.detector.is_used:
        return 3 * one_group(config).recipe.batch_size
    if recipe.bn_batch and _by_group(config, device):
        return 3 * recipe.bn_batch
    return 3 * recipe.batch_size


def _by_group(config: RunConfig, device: torch.device) -> bool:
    """Return whether the time of a mini-batch is that of one group, times their number."""
    if device.type == "cuda":
        return config.data.is_streamed
    return config.data.is_streamed or accumulates(config, device)


def _loop(config: RunConfig, execution: Execution) -> Loop:
    if config.detector.localises:
        from resnet_repro.engine.localisation.timing import localiser_loop  # imports torchvision

        return localiser_loop(config, execution)
    if config.detector.is_used:
        from resnet_repro.engine.detection.timing import detector_loop  # imports torchvision

        return detector_loop(config, execution)
    if config.data.is_streamed:
        return network_loop(config, execution)
    return training_loop(config, execution, random_images(config, NUM_FEW))


def one_group(config: RunConfig) -> RunConfig:
    """Return the settings with a mini-batch of one batch-norm group; of detectors, some images.

    A detector computes photographs one at a time. Localisation computes all of a process's share at
    once, of which some are enough: each of them several crops, if it classifies regions.
    """
    recipe, detector = config.recipe, config.detector
    size = recipe.bn_batch or recipe.batch_size
    if detector.localises:
        crops = detector.sampled_regions if detector.takes_proposals else 1
        size = max(1, min(MOST_CROPS // crops, recipe.batch_size // num_processes(config)))
    elif detector.is_used:
        size = 1
    part = replace(config, recipe=replace(recipe, batch_size=size, bn_batch=None))
    return part.with_compute(processes=1)


def random_images(config: RunConfig, number: int = NUM_IMAGES) -> Images:
    """Make random images of a run's size; the speed does not depend on their content."""
    data, generator = config.data, torch.Generator().manual_seed(0)
    shape = (number, 3, data.image_size, data.image_size)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(data.num_classes, (number,), generator=generator)
    return Images(pixels, labels)


def training_loop(
    config: RunConfig, execution: Execution, images: Images, group: Group = SINGLE_PROCESS
) -> Loop:
    """Train a run's network on images in memory, endlessly; yield after each iteration."""
    model = execution.prepare(build_model(config.model)).train()
    optimizer = build_optimizer(model, config.recipe)
    data, device = DataSet(images, images[:1], ()), execution.device
    feed = make_feed(data, config, device, group, kernels=execution.kernels)
    step = Step(model, optimizer, config.recipe.bn_batch, execution, group)
    totals = torch.zeros(2, device=execution.device)
    with capture_stream(execution.device, execution.graph) as stream:
        run = GraphedCallable(lambda *batch: step(*feed.to_inputs(*batch)), stream)
        for batch in feed.batches(0, 2**62):
            totals += run(*batch)
            yield


def network_loop(config: RunConfig, execution: Execution) -> Loop:
    """Train on one mini-batch of noise, endlessly, to time the network only."""
    size, recipe = config.data.image_size, config.recipe
    model = execution.prepare(build_model(config.model)).train()
    step = Step(model, build_optimizer(model, recipe), recipe.bn_batch, execution)
    images = torch.randn(recipe.batch_size, 3, size, size, device=execution.device)
    labels = torch.zeros(recipe.batch_size, dtype=torch.int64, device=execution.device)
    with capture_stream(execution.device, execution.graph) as stream:
        run = GraphedCallable(step, stream)
        while True:
            run(images, labels)
            yield


def iterate(loop: Loop, number: int, device: torch.device) -> float:
    """Run some iterations; return the mean seconds per iteration."""
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(number):
        next(loop)
    synchronize(device)
    return (time.perf_counter() - begin) / number
