"""How many processes are fastest on this CPU: timed once, and kept with the calibration.

Threads wait for each other in each layer; two runs with a thread each do not, and two processes of
one run only once in an iteration.
"""

import logging
from contextlib import closing
from pathlib import Path

import torch

from resnet_repro.bench.rounds import time_loops
from resnet_repro.cost.calibration import Calibration, chip, network_key
from resnet_repro.data import load_data
from resnet_repro.engine.device import choose_device, most_processes, threads_asked
from resnet_repro.engine.execution import return_freed_memory
from resnet_repro.engine.groups import OVERHEAD, accumulates, at_once
from resnet_repro.engine.timing import images_per_second, random_images
from resnet_repro.errors import UserError
from resnet_repro.machine import available_bytes, busy_cores, free_cores, num_cores
from resnet_repro.models.complexity import training_bytes
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

LEAST_GAIN = 1.05  # a smaller one is not worth the memory
WORTH_SECONDS = 300.0  # shorter runs are not worth the timing, which takes about 20
NUM_ROUNDS, ROUND_SECONDS = 3, 1.5


def best_runs_on_cpu(config: RunConfig, num_runs: int, results: Path) -> int:
    """Return the number of runs to train at a time: one with all threads, or one for each core.

    Args:
        config: The settings of one of the runs.
        num_runs: The number of runs to do.
        results: The output root, which has the calibration.
    """
    number = min(num_runs, num_cores())
    return number if _is_faster(config, number, results, runs=True) else 1


def best_processes_on_cpu(config: RunConfig, results: Path) -> int:
    """Return the number of processes for one run: one, or as many as can share a mini-batch.

    Args:
        config: The run's settings.
        results: The output root, which has the calibration.
    """
    number = most_processes(config, num_cores())
    return number if _is_faster(config, number, results, runs=False) else 1


def _is_faster(config: RunConfig, number: int, results: Path, *, runs: bool) -> bool:
    """Return whether several processes are faster than one: several `runs`, or parts of one."""
    if number < 2 or not may_be_timed(config, number):
        return False
    what = "runs" if runs else "processes"
    calibration, key = Calibration(results), f"{network_key(config)}-{number}-{what}"
    if key not in calibration.side_by_side:
        if not is_worth_timing(config, number):
            return False
        logger.info("timing one process, and %d side by side, for some seconds ...", number)
        several = config.with_compute(**{"runs_per_gpu" if runs else "processes": number})
        gain = gain_of(several, config.with_compute(threads=num_cores()))
        if gain is None:
            return False
        calibration.side_by_side[key] = {"chip": chip(config), "gain": round(gain, 2)}
        calibration.save()
    return bool(calibration.side_by_side[key]["gain"] >= LEAST_GAIN)


def may_be_timed(config: RunConfig, number: int) -> bool:
    """Return whether threads are free to choose, and so many cores are idle."""
    settled = config.compute.threads is not None or threads_asked() is not None
    return not settled and not config.data.is_streamed and free_cores(busy_cores()) >= number


def is_worth_timing(config: RunConfig, number: int) -> bool:
    """Return whether a run is long, and memory suffices for one run more than `number`."""
    images = config.recipe.iterations * config.recipe.batch_size
    seconds = images / images_per_second(config)
    return_freed_memory()  # that of the timing: this process may wait for others that train
    return seconds >= WORTH_SECONDS and _fits(config, number)


def gain_of(config: RunConfig, baseline: RunConfig) -> float | None:
    """Time a run with two settings of `compute`; return the speed of the first over the second.

    It is None, after a warning, where the timing fails: a container may have too little memory for
    the processes to share, and the run itself needs none of it.

    Raises:
        UserError: The run's data is missing or damaged; it is read before a timing that may take
            minutes, not after.
    """
    load_data(config.data)
    try:
        return _gain_of(config, baseline)
    except (RuntimeError, EOFError, OSError, UserError) as error:  # EOFError: a process died
        why = ": ".join(filter(None, [type(error).__name__, str(error).split("\n", 1)[0]]))
        logger.warning("the timing failed (%s); using the default", why)
        return None


def _gain_of(config: RunConfig, baseline: RunConfig) -> float:
    from resnet_repro.bench.variants import in_processes  # imports torchvision

    images = random_images(config)
    usual = in_processes(baseline, images)
    with closing(usual.loop):
        other = in_processes(config, images)
        with closing(other.loop):
            loops = {"usual": usual.loop, "other": other.loop}
            timings = time_loops(loops, torch.device("cpu"), NUM_ROUNDS, ROUND_SECONDS)
    return other.number * timings["usual"].seconds / timings["other"].seconds


def _fits(config: RunConfig, number: int) -> bool:
    """Return whether memory suffices for one run more than `number`."""
    available = available_bytes()
    by_group = accumulates(config, choose_device(config.compute))
    needed = training_bytes(config if by_group else at_once(config))
    return available is None or (number + 1) * OVERHEAD * needed <= available
