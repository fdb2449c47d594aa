"""What each way to train is worth on this machine, beside the usual loop and the chip's floor."""

import logging
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace

from resnet_repro.config import RunConfig
from resnet_repro.data.images import Images
from resnet_repro.engine.device import choose_device
from resnet_repro.engine.execution import available_precisions, choose_execution
from resnet_repro.engine.floor import Rates, floor_seconds, measure_rates
from resnet_repro.engine.speed import (
    Timing,
    network_loop,
    one_group,
    our_loop,
    random_images,
    time_loops,
    with_ways,
)
from resnet_repro.engine.turns import Work, together
from resnet_repro.engine.usual import usual_loop
from resnet_repro.errors import UserError
from resnet_repro.models.complexity import measure

logger = logging.getLogger("resnet_repro")

USUAL = "usual loop"
SIDE_BY_SIDE = (2, 4, 8)
SEGMENT = 8  # blocks that are computed again together


@dataclass(frozen=True)
class Line:
    """One way to train a row's network.

    Attributes:
        row: Of the experiment.
        way: In words.
        timing: Of an iteration; of networks side by side, of an iteration of each, over their
            number.
        batch_size: Images of an iteration.
        of_usual: How many times the usual loop's images per second, timed by turns with it.
        floor: The least seconds of an iteration at this precision.
        bound: What the floor is made of: `arithmetic` or `memory`.
    """

    row: str
    way: str
    timing: Timing
    batch_size: int
    of_usual: float | None
    floor: float
    bound: str


def bench_row(name: str, config: RunConfig, rates: dict[str, Rates]) -> list[Line]:
    """Time every way to train a row's network; those of a precision, and the usual loop, by turns.

    Args:
        name: Of the row.
        config: Its settings.
        rates: Of the chip by precision; measured where they are not there yet.
    """
    device = choose_device(config.compute)
    if config.data.is_streamed:
        config = one_group(config)
    images = None if config.data.is_streamed else random_images(config)
    size = measure(config)
    lines: list[Line] = []
    for precision in available_precisions(device):
        plain = replace(config, recipe=replace(config.recipe, precision=precision))
        if precision not in rates:
            rates[precision] = measure_rates(precision, device)
        with ExitStack() as stack:
            # tf32 is switched on and off for the whole process, and the usual loop has it off.
            loops = _ways(plain, images, with_usual=precision != "tf32")
            for loop in loops.values():
                stack.enter_context(closing(loop))
            timings = time_loops(loops, device)
        if USUAL in timings:
            usual = timings[USUAL].seconds
        for way, timing in timings.items():
            if way == USUAL and lines:
                continue
            number = next((n for n in SIDE_BY_SIDE if way.endswith(f"{n} side by side")), 1)
            seconds = {k: v / number for k, v in asdict(timing).items() if k != "memory"}
            each = Timing(**seconds, memory=timing.memory)
            floor = floor_seconds(plain, size, rates[precision])
            ratio = None if images is None else usual / each.seconds
            lines.append(Line(name, way, each, config.recipe.batch_size, ratio, *floor))
    return lines


def _ways(plain: RunConfig, images: Images | None, *, with_usual: bool) -> dict[str, Work]:
    """Return the loops of a precision, each ready to begin."""
    precision, device = plain.recipe.precision, choose_device(plain.compute)

    def ours(config: RunConfig) -> Work:
        execution = choose_execution(config)
        if images is None:
            return network_loop(config, execution)
        return our_loop(config, execution, images)

    loops: dict[str, Work] = {}
    if with_usual and images is not None:
        loops[USUAL] = usual_loop(plain, images, device)
    chosen = choose_execution(plain)
    loops[f"{precision}, {chosen.describe()}"] = ours(plain)
    other = "without" if chosen.channels_last else "with"
    flipped = with_ways(plain, channels_last=not chosen.channels_last)
    loops[f"{precision}, {other} channels_last"] = ours(flipped)
    loops[f"{precision}, with recompute={SEGMENT}"] = ours(with_ways(plain, recompute=SEGMENT))
    if chosen.graph:
        loops[f"{precision}, without graph"] = ours(with_ways(plain, graph=False))
    try:
        loops[f"{precision}, with compile"] = ours(with_ways(plain, compile=True))
    except UserError as error:
        logger.warning("%s", error)
    if device.type == "cuda":
        for number in SIDE_BY_SIDE:
            works = [ours(plain) for _ in range(number)]
            loops[f"{precision}, {number} side by side"] = together(works, device)
    return loops
