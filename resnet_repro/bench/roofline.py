"""A lower bound on the time of an iteration, from two rates measured on the chip."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from resnet_repro.engine.device import synchronize
from resnet_repro.engine.execution import choose_precision
from resnet_repro.models.complexity import Complexity
from resnet_repro.settings.run import RunConfig

# Passes over each convolution's output: written and read in the forward pass; read, and its
# gradient written and read, in the backward pass. Batch norm's passes can be fused into these.
PASSES = 5
# Passes over each weight: read; gradient written and read; momentum read and written; written.
WEIGHT_PASSES = 6
REPEATS = 10


@dataclass(frozen=True)
class Rates:
    """Peak rates of a chip at one precision, as measured.

    Attributes:
        operations: Multiplications and additions per second in large matrix products or
            convolutions, whichever are faster.
        bandwidth: Bytes read and written per second in a large copy.
    """

    operations: float
    bandwidth: float


def measure_rates(precision: str, device: torch.device) -> Rates:
    """Measure a chip's peak rates, each as the best of several repetitions.

    What is computed is made smaller until it fits the chip's memory.

    Raises:
        UserError: The device does not have the precision.
    """
    large = device.type == "cuda"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def product(side: int) -> float:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        return 2 * side**3 / _best(lambda: a @ b, device)

    def convolution(number: int) -> float:
        images = torch.randn(number, 64, 32, 32, device=device, dtype=dtype)
        weight = torch.randn(64, 64, 3, 3, device=device, dtype=dtype)
        images = images.to(memory_format=torch.channels_last)
        weight = weight.to(memory_format=torch.channels_last)
        operations = 2 * images.numel() * weight[0].numel()
        return operations / _best(lambda: F.conv2d(images, weight, padding=1), device)

    def copy(number: int) -> float:
        source = torch.randn(number, device=device, dtype=torch.float32)
        target = torch.empty_like(source)
        return 2 * source.nbytes / _best(lambda: target.copy_(source), device)

    with torch.no_grad(), choose_precision(precision, device):
        operations = max(
            _largest(product, 8192 if large else 1536), _largest(convolution, 1024 if large else 64)
        )
        bandwidth = _largest(copy, 2**30 if large else 2**26)
    if large:
        torch.cuda.empty_cache()  # gigabytes that worker processes may need
    return Rates(operations, bandwidth)


def _largest(measured: Callable[[int], float], size: int) -> float:
    """Return what is measured at a size, or at the largest half, quarter, ... that fits memory."""
    while True:
        try:
            return measured(size)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        size //= 2


def lower_bound_seconds(config: RunConfig, size: Complexity, rates: Rates) -> tuple[float, str]:
    """Return the lower bound of an iteration's time, seconds, and what it is limited by.

    A multiply-add is two operations; the backward pass repeats it for the input and the weight. So
    it does for the images, whose gradient nobody computes: a hundredth or less. Maps that stay in a
    cache move faster than the memory that is measured.
    """
    num_images = config.recipe.batch_size
    each = 2 if config.recipe.precision == "bf16" else 4
    operations = 3 * 2 * size.multiply_adds * num_images
    moved = PASSES * each * size.activations * num_images + WEIGHT_PASSES * 4 * size.params
    arithmetic, memory = operations / rates.operations, moved / rates.bandwidth
    return (arithmetic, "arithmetic") if arithmetic > memory else (memory, "memory")


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Return the time of the fastest of several calls, seconds."""
    seconds = []
    for _ in range(REPEATS + 1):
        synchronize(device)
        begin = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])
