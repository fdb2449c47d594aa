"""The least time that an iteration can take on a chip, from two rates measured on it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from resnet_repro.engine.device import synchronize
from resnet_repro.engine.execution import choose_precision
from resnet_repro.models.complexity import Complexity
from resnet_repro.settings.run import RunConfig

# Of each convolution's output: written and read forward; read, and its gradient written and read,
# backward. Batch norm's own passes are left out: they can be part of these.
PASSES = 5
# Of each weight: read; gradient written and read; momentum read and written; weight written.
WEIGHT_PASSES = 6
REPEATS = 10


@dataclass(frozen=True)
class Rates:
    """What a chip does in a precision.

    Attributes:
        operations: Multiplications and additions per second, of large matrix products or
            convolutions, whichever are faster.
        bandwidth: Bytes read and written per second, of a large copy.
    """

    operations: float
    bandwidth: float


def measure_rates(precision: str, device: torch.device) -> Rates:
    """Measure a chip: the best of some repetitions, for a ceiling is wanted."""
    large = device.type == "cuda"
    autocast = choose_precision(precision, device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = 8192 if large else 1536
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    images = torch.randn(1024 if large else 64, 64, 32, 32, device=device, dtype=dtype)
    weight = torch.randn(64, 64, 3, 3, device=device, dtype=dtype)
    images = images.to(memory_format=torch.channels_last)
    weight = weight.to(memory_format=torch.channels_last)
    source = torch.randn(2**30 if large else 2**26, device=device, dtype=torch.float32)
    target = torch.empty_like(source)
    with torch.no_grad(), autocast:
        product = 2 * side**3 / _best(lambda: a @ b, device)
        convolution = _best(lambda: F.conv2d(images, weight, padding=1), device)
        copy = _best(lambda: target.copy_(source), device)
    return Rates(
        operations=max(product, 2 * images.numel() * weight[0].numel() / convolution),
        bandwidth=2 * source.nbytes / copy,
    )


def lower_bound_seconds(config: RunConfig, size: Complexity, rates: Rates) -> tuple[float, str]:
    """Return the least seconds of an iteration, and what they are spent on.

    A multiply-add is two operations; backward, each is done for the input and for the weight.
    """
    num_images = config.recipe.batch_size
    each = 2 if config.recipe.precision == "bf16" else 4
    operations = 3 * 2 * size.multiply_adds * num_images
    moved = PASSES * each * size.activations * num_images + WEIGHT_PASSES * 4 * size.params
    arithmetic, memory = operations / rates.operations, moved / rates.bandwidth
    return (arithmetic, "arithmetic") if arithmetic > memory else (memory, "memory")


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of some calls."""
    seconds = []
    for _ in range(REPEATS + 1):
        synchronize(device)
        begin = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])
