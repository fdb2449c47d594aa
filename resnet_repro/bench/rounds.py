"""Loops of one run, timed in rounds."""

import logging
import statistics
import time
from dataclasses import dataclass, replace

import torch

from resnet_repro.bench.workers import Workers
from resnet_repro.engine.cuda_graph import WARM_UP
from resnet_repro.engine.interleave import Loop
from resnet_repro.engine.timing import LONG_SECONDS, iterate
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

ROUNDS = 5


ROUND_SECONDS = 3.0  # about so long each way is timed before it is the turn of another


SETTLE_SECONDS = 0.3  # before that, for what the one before it left to be done


@dataclass(frozen=True)
class Timing:
    """Of one way to train.

    Attributes:
        seconds: Of an iteration; the median over rounds.
        lowest, highest: The fastest and the slowest round's.
        first: Seconds until the first iteration was done.
        memory: Most bytes of the GPU's memory that it took; None on a CPU, and in processes of
            its own.
    """

    seconds: float
    lowest: float
    highest: float
    first: float
    memory: int | None = None


def time_loops(loops: dict[str, Loop | Workers], device: torch.device) -> dict[str, Timing]:
    """Time several loops that take turns, so that what else the machine does meets all alike.

    One that finds too little memory beside the others is left out, with a warning.

    Args:
        loops: By their names.
        device: That they compute on.
    """
    first, lengths, memory = {}, {}, dict[str, int | None]()
    for name, loop in loops.items():
        before = _reset_peak_memory(device)
        try:
            first[name] = _iterate(loop, 1, device)
            each = _iterate(loop, 1, device)
            if each < LONG_SECONDS:
                _iterate(loop, WARM_UP, device)
                each = _iterate(loop, 1, device)
        except torch.OutOfMemoryError:
            logger.warning("%s: left out, for want of memory beside the others", name)
            loop.close()
            continue
        lengths[name] = max(1, min(500, round(ROUND_SECONDS / each)))
        here = device.type == "cuda" and not isinstance(loop, Workers)
        memory[name] = torch.cuda.max_memory_allocated(device) - before if here else None
    seconds: dict[str, list[float]] = {name: [] for name in lengths}
    for _ in range(ROUNDS):
        for name, length in lengths.items():
            time.sleep(SETTLE_SECONDS)
            seconds[name].append(_iterate(loops[name], length, device))
    return {
        name: Timing(statistics.median(each), min(each), max(each), first[name], memory[name])
        for name, each in seconds.items()
    }


def _reset_peak_memory(device: torch.device) -> int:
    """Begin to watch for the most memory in use; return what is in use now."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def with_compute(config: RunConfig, **compute: bool | int | None) -> RunConfig:
    """Return the settings with other ways of computing."""
    return replace(config, compute=replace(config.compute, **compute))  # type: ignore[arg-type]


def _iterate(loop: Loop | Workers, number: int, device: torch.device) -> float:
    """Do some iterations, here or in the processes of a loop; return the seconds of one."""
    if not isinstance(loop, Workers):
        return iterate(loop, number, device)
    begin = time.perf_counter()
    loop.iterate(number)
    return (time.perf_counter() - begin) / number
