"""What each way to train is worth on this machine, beside the usual loop and the chip's floor."""

import logging
import os
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import torch

from resnet_repro.config import RunConfig
from resnet_repro.data.images import Images
from resnet_repro.distributed import num_cores
from resnet_repro.engine.apart import Apart
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
from resnet_repro.models.complexity import measure, training_bytes

logger = logging.getLogger("resnet_repro")

USUAL = "usual loop"
SIDE_BY_SIDE = (2, 4, 8)
# What the ways in this process and the usual loop's whole mini-batch take, in networks' memory.
BESIDE = 4
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
SEGMENT = 8  # blocks that are computed again together


@dataclass
class Way:
    """A way to train: `number` networks at once, of which an iteration trains each once."""

    loop: Work | Apart
    number: int = 1


@dataclass(frozen=True)
class Line:
    """One way to train a row's network.

    Attributes:
        row: Of the experiment.
        way: In words.
        timing: Of an iteration; of several networks at once, of an iteration of each, over their
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
    usual: float | None = None
    for precision in available_precisions(device):
        plain = replace(config, recipe=replace(config.recipe, precision=precision))
        if precision not in rates:
            rates[precision] = measure_rates(precision, device)
        with ExitStack() as stack:
            # tf32 is switched on and off for the whole process, and the usual loop has it off.
            ways = _ways(plain, images, with_usual=precision != "tf32")
            for way in ways.values():
                stack.enter_context(closing(way.loop))
            timings = time_loops({what: way.loop for what, way in ways.items()}, device)
        if USUAL in timings:
            usual = timings[USUAL].seconds
        for what, timing in timings.items():
            if what == USUAL and lines:
                continue
            number = ways[what].number
            each = replace(
                timing,
                seconds=timing.seconds / number,
                lowest=timing.lowest / number,
                highest=timing.highest / number,
            )
            floor = floor_seconds(plain, size, rates[precision])
            ratio = usual / each.seconds if usual else None
            lines.append(Line(name, what, each, config.recipe.batch_size, ratio, *floor))
    return lines


def _ways(plain: RunConfig, images: Images | None, *, with_usual: bool) -> dict[str, Way]:
    """Return the loops of a precision, each ready to begin."""
    precision, device = plain.recipe.precision, choose_device(plain.compute)
    chosen = choose_execution(plain)
    ways: dict[str, Way] = {}
    if with_usual and images is not None:
        usual = with_ways(plain, threads=torch.get_num_threads())
        ways[USUAL] = Way(Apart(1, usual_loop, (usual, images), device))
    ways[f"{precision}, {chosen.describe()}"] = Way(_ours(plain, images))
    other = "without" if chosen.channels_last else "with"
    flipped = with_ways(plain, channels_last=not chosen.channels_last)
    ways[f"{precision}, {other} channels_last"] = Way(_ours(flipped, images))
    segments = with_ways(plain, recompute=SEGMENT)
    ways[f"{precision}, with recompute={SEGMENT}"] = Way(_ours(segments, images))
    if chosen.graph:
        ways[f"{precision}, without graph"] = Way(_ours(with_ways(plain, graph=False), images))
    try:
        compiled = _ours(with_ways(plain, compile=True), images)
    except UserError as error:
        logger.warning("%s", error)
    else:
        ways[f"{precision}, with compile"] = Way(compiled)
    for number in SIDE_BY_SIDE:
        if device.type == "cuda":
            works = [_ours(plain, images) for _ in range(number)]
            ways[f"{precision}, {number} on streams"] = Way(together(works, device), number)
        elif number > num_cores():
            break
        elif (number + BESIDE) * training_bytes(plain) > MEMORY:
            logger.warning("%d processes: left out, for want of memory beside the others", number)
            break
        part = with_ways(plain, threads=max(1, torch.get_num_threads() // number))
        ways[f"{precision}, {number} processes"] = Way(
            Apart(number, _ours, (part, images), device), number
        )
    return ways


def _ours(config: RunConfig, images: Images | None) -> Work:
    execution = choose_execution(config)
    if images is None:
        return network_loop(config, execution)
    return our_loop(config, execution, images)
