"""Times the variants of training a row, the baseline loop, and the chip's lower bound."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from resnet_repro.bench.roofline import Rates, lower_bound_seconds, measure_rates
from resnet_repro.bench.rounds import Timing, time_loops
from resnet_repro.bench.variants import BASELINE, make_baseline, make_variants
from resnet_repro.engine.device import choose_device
from resnet_repro.engine.timing import one_group, random_images
from resnet_repro.machine import available_bytes
from resnet_repro.models.complexity import measure
from resnet_repro.settings.run import RunConfig


@dataclass(frozen=True)
class VariantResult:
    """The result of one variant of training a row's network.

    Attributes:
        row: The row's name.
        variant: The variant's name.
        timing: Time of an iteration; for several networks at once, divided by their number.
        batch_size: Images per iteration.
        speedup: Speedup over the baseline loop, timed in the same rounds.
        lower_bound: Lower bound of an iteration's time at this precision, seconds.
        bound: What limits the lower bound: `arithmetic` or `memory`.
    """

    row: str
    variant: str
    timing: Timing
    batch_size: int
    speedup: float | None
    lower_bound: float
    bound: str


def bench_row(
    name: str, config: RunConfig, precisions: Sequence[str], rates: dict[str, Rates]
) -> Generator[list[VariantResult], None, None]:
    """Time every variant of training a row's network; yield those of a precision as soon as timed.

    The variants of one precision and the baseline loop are interleaved. The baseline loop, whose
    processes take a while to start, is started once. To be closed, as it has worker processes.

    Args:
        name: The row's name.
        config: The row's settings.
        precisions: The precisions to time.
        rates: The chip's peak rates by precision; missing ones are measured and added.

    Raises:
        UserError: The device does not have one of the precisions.
    """
    device, available = choose_device(config.compute), available_bytes()
    if config.data.is_streamed:
        config = one_group(config)
    images = None if config.data.is_streamed else random_images(config)
    size = measure(config)
    for precision in precisions:  # before the baseline's processes start, which take cores
        if precision not in rates:
            rates[precision] = measure_rates(precision, device)
    with ExitStack() as of_row:
        baseline = None if images is None else make_baseline(config, images, available)
        if baseline:
            of_row.enter_context(closing(baseline.loop))
        for number, precision in enumerate(precisions):
            plain = replace(config, recipe=replace(config.recipe, precision=precision))
            variants = {BASELINE: baseline} if baseline else {}
            with ExitStack() as stack:
                made = make_variants(plain, images, available)
                for variant in made.values():
                    stack.enter_context(closing(variant.loop))
                variants |= made
                timings = time_loops({what: each.loop for what, each in variants.items()}, device)
            if BASELINE not in timings:  # it ran out of memory, and is closed
                baseline = None
            reference = timings[BASELINE].seconds if baseline else None
            lines = []
            for what, timing in timings.items():
                if what == BASELINE and number:  # its line is among those of the first precision
                    continue
                each = _of_one(timing, variants[what].number)
                lower_bound = lower_bound_seconds(plain, size, rates[precision])
                ratio = reference / each.seconds if reference else None
                lines.append(
                    VariantResult(name, what, each, config.recipe.batch_size, ratio, *lower_bound)
                )
            yield lines


def _of_one(timing: Timing, number: int) -> Timing:
    """Return a timing of several networks at once, divided by their number."""
    return replace(
        timing,
        seconds=timing.seconds / number,
        lowest=timing.lowest / number,
        highest=timing.highest / number,
    )
