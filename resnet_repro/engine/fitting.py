"""How many runs fill a GPU, and which batch-norm group fits its memory: both are measured."""

import json
import logging
from contextlib import closing
from dataclasses import asdict, replace

import torch

from resnet_repro.engine.cuda_graph import WARM_UP
from resnet_repro.engine.device import choose_device
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.interleave import interleave
from resnet_repro.engine.timing import iterate, network_loop, random_images, training_loop
from resnet_repro.settings.external_model import ExternalModelConfig, Model
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

NUMBERS = (2, 3, 4, 6, 8, 12, 16)
LEAST_GAIN = 1.03  # from one of these numbers to the next; a smaller one is not worth the memory
NUM_ITERATIONS = 40
WORTH_SECONDS = 120.0  # shorter runs are not worth measuring
# The best number of runs of a network, and for how many runs it was measured; None: for any.
_measured: dict[str, tuple[int, int | None]] = {}


def gpu_fraction(config: RunConfig, num_runs: int) -> float:
    """Return the fraction of a device that a run fills: 1 / the best number of runs side by side.

    Args:
        config: The run's settings.
        num_runs: The number of runs to do, and the largest number to measure.
    """
    if config.compute.runs_per_gpu is not None:
        return 1 / config.compute.runs_per_gpu
    # Photographs are limited by their reading, for which one run takes all cores.
    if num_runs < 2 or config.data.is_streamed or not choose_execution(config).graph:
        return 1.0
    recipe = config.recipe
    size = config.data.image_size
    batch, length = (recipe.batch_size, recipe.bn_batch, recipe.precision), recipe.iterations
    key = json.dumps((asdict(config.model), size, batch, length))
    best, most = _measured.get(key, (1, 0))
    if most is not None and num_runs > most:
        best, most = _measured[key] = best_runs_per_gpu(config, num_runs)
    return 1 / best


def best_runs_per_gpu(config: RunConfig, most: int) -> tuple[int, int | None]:
    """Measure which number of runs of a network, side by side, trains the most images/s.

    Args:
        config: The settings of one of the runs.
        most: The number of runs to do.

    Returns:
        The number, and the number of runs above which another may be the best; None: it is the best
        of any.
    """
    execution, images = choose_execution(config), random_images(config)

    def iterations_per_second(number: int) -> float:
        works = [training_loop(config, execution, images) for _ in range(number)]
        with closing(interleave(works, execution.device)) as loop:
            for _ in range(WARM_UP + 2):
                next(loop)
            return number / iterate(loop, NUM_ITERATIONS, execution.device)

    try:
        best, rate = 1, iterations_per_second(1)
    except torch.OutOfMemoryError:  # maybe of other programs; the run itself reports it
        return 1, most
    if config.recipe.iterations / rate < WORTH_SECONDS:
        return 1, None
    limit = None
    for number in NUMBERS:
        if number > most:
            limit = most
            break
        try:
            faster = iterations_per_second(number)
        except torch.OutOfMemoryError:
            break
        if faster < LEAST_GAIN * rate:
            break
        best, rate = number, faster
    logger.info(
        "running %s, %d at a time on the GPU: %.0f iterations/s in total",
        *(_in_words(config.model), best, rate),
    )
    return best, limit


def _in_words(model: Model) -> str:
    if isinstance(model, ExternalModelConfig):
        return f"networks {model.name}"
    return f"{model.depth}-layer networks"


def largest_bn_batch(config: RunConfig) -> int | None:
    """Return the largest batch-norm group, below the run's own, that fits the memory.

    Each size is tried for two iterations, the largest first. None if two images do not fit.
    """
    recipe = config.recipe
    size = recipe.bn_batch or recipe.batch_size
    for number in range(size // 2, 1, -1):
        if recipe.batch_size % number:
            continue
        part = replace(config, recipe=replace(recipe, batch_size=number, bn_batch=None))
        try:
            with closing(network_loop(part, choose_execution(part))) as loop:
                iterate(loop, 2, choose_device(part.compute))
        except torch.OutOfMemoryError:
            continue
        finally:
            torch.cuda.empty_cache()  # other processes may train the next run on this GPU
        return number
    return None
