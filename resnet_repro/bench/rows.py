"""Times the variants of training a row, the baseline loop, and the chip's lower bound."""

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from resnet_repro.bench.roofline import Rates, lower_bound_seconds, measure_rates
from resnet_repro.bench.rounds import Timing, time_loops
from resnet_repro.bench.variants import BASELINE, make_variants
from resnet_repro.engine.device import choose_device
from resnet_repro.engine.execution import available_precisions
from resnet_repro.engine.timing import one_group, random_images
from resnet_repro.models.complexity import measure
from resnet_repro.settings.run import RunConfig


@dataclass(frozen=True)
class VariantResult:
    """The result of one variant of training a row's network.

    Attributes:
        row: The row's name.
        way: The variant's name.
        timing: Time of an iteration; for several networks at once, divided by their number.
        batch_size: Images per iteration.
        of_usual: Speedup over the baseline loop, timed in the same rounds.
        floor: Lower bound of an iteration's time at this precision, seconds.
        bound: What limits the lower bound: `arithmetic` or `memory`.
    """

    row: str
    way: str
    timing: Timing
    batch_size: int
    of_usual: float | None
    floor: float
    bound: str


def bench_row(name: str, config: RunConfig, rates: dict[str, Rates]) -> list[VariantResult]:
    """Time every variant of training a row's network.

    The variants of one precision and the baseline loop are interleaved.

    Args:
        name: The row's name.
        config: The row's settings.
        rates: The chip's peak rates by precision; missing ones are measured and added.
    """
    device = choose_device(config.compute)
    if config.data.is_streamed:
        config = one_group(config)
    images = None if config.data.is_streamed else random_images(config)
    size = measure(config)
    lines: list[VariantResult] = []
    baseline: float | None = None
    for precision in available_precisions(device):
        plain = replace(config, recipe=replace(config.recipe, precision=precision))
        if precision not in rates:
            rates[precision] = measure_rates(precision, device)
        with ExitStack() as stack:
            variants = make_variants(plain, images)
            for variant in variants.values():
                stack.enter_context(closing(variant.loop))
            timings = time_loops({what: variant.loop for what, variant in variants.items()}, device)
        if BASELINE in timings:
            baseline = timings[BASELINE].seconds
        for what, timing in timings.items():
            if what == BASELINE and lines:
                continue
            number = variants[what].number
            each = replace(
                timing,
                seconds=timing.seconds / number,
                lowest=timing.lowest / number,
                highest=timing.highest / number,
            )
            floor = lower_bound_seconds(plain, size, rates[precision])
            ratio = baseline / each.seconds if baseline else None
            lines.append(VariantResult(name, what, each, config.recipe.batch_size, ratio, *floor))
    return lines
