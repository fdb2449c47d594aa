"""Timing of several loops in interleaved rounds."""

import logging
import statistics
import time
from dataclasses import dataclass

import torch

from resnet_repro.bench.workers import Workers
from resnet_repro.engine.cuda_graph import WARM_UP
from resnet_repro.engine.interleave import Loop
from resnet_repro.engine.timing import LONG_SECONDS, iterate

logger = logging.getLogger("resnet_repro")

ROUNDS = 5
ROUND_SECONDS = 3.0  # approximate time of one loop per round
SETTLE_SECONDS = 0.3  # pause between loops, for unfinished work of the previous one


@dataclass(frozen=True)
class Timing:
    """Timing of one variant.

    Attributes:
        seconds: Time of an iteration, median over rounds.
        lowest, highest: Time of an iteration in the fastest and in the slowest round, seconds.
        first: Time until the first iteration was done, seconds.
        memory: Peak GPU memory of training, bytes, without that of the start (statistics of the
            images); None on a CPU and for worker processes.
    """

    seconds: float
    lowest: float
    highest: float
    first: float
    memory: int | None = None


def time_loops(
    loops: dict[str, Loop | Workers],
    device: torch.device,
    num_rounds: int | None = None,
    round_seconds: float | None = None,
) -> dict[str, Timing]:
    """Time several loops in interleaved rounds, so that other load affects all of them equally.

    A loop that does not fit in memory next to the others is skipped with a warning.

    Args:
        loops: The loops, by name.
        device: The device that they run on.
        num_rounds: Number of rounds; None: `ROUNDS`.
        round_seconds: Approximate time of one loop per round; None: `ROUND_SECONDS`.
    """
    round_seconds = round_seconds or ROUND_SECONDS
    first, lengths, memory = {}, {}, dict[str, int | None]()
    for name, loop in loops.items():
        before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        try:
            first[name] = _iterate(loop, 1, device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            each = _iterate(loop, 1, device)
            if each < LONG_SECONDS:
                _iterate(loop, WARM_UP, device)
                each = _iterate(loop, 1, device)
        except torch.OutOfMemoryError:
            logger.warning("%s: skipped: not enough memory next to the others", name)
            loop.close()
            continue
        lengths[name] = max(1, min(500, round(round_seconds / each)))
        here = device.type == "cuda" and not isinstance(loop, Workers)
        memory[name] = torch.cuda.max_memory_allocated(device) - before if here else None
    seconds: dict[str, list[float]] = {name: [] for name in lengths}
    for _ in range(num_rounds or ROUNDS):
        for name, length in lengths.items():
            time.sleep(SETTLE_SECONDS)
            seconds[name].append(_iterate(loops[name], length, device))
    return {
        name: Timing(statistics.median(each), min(each), max(each), first[name], memory[name])
        for name, each in seconds.items()
    }


def _iterate(loop: Loop | Workers, number: int, device: torch.device) -> float:
    """Run some iterations, here or in worker processes; return the seconds per iteration."""
    if not isinstance(loop, Workers):
        return iterate(loop, number, device)
    begin = time.perf_counter()
    loop.iterate(number)
    return (time.perf_counter() - begin) / number
