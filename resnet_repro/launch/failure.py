"""Failed runs: recorded and reported, so that the other runs continue."""

import logging
import math
import traceback
from contextlib import suppress
from pathlib import Path
from textwrap import shorten

from resnet_repro.distributed.group import Group
from resnet_repro.engine.device import choose_device, num_processes
from resnet_repro.engine.execution import return_freed_memory
from resnet_repro.engine.fitting import largest_bn_batch
from resnet_repro.engine.groups import accumulates, at_once
from resnet_repro.errors import UserError, shortage
from resnet_repro.launch.processes import DeadProcessError
from resnet_repro.models.complexity import training_bytes
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.records.errors import DamagedError, LockedError, MissingWeightsError
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

MOST_REASON = 1000  # characters; the whole text is in the log


def record_failure(run: Run, folder: Path, error: Exception) -> None:
    """Log and record why a run failed; raise errors that would stop every run.

    Raises:
        UserError: Wrong settings or missing data.
        OSError: A full disk, or a folder without write permission.
    """
    if isinstance(error, DamagedError | MissingWeightsError):
        logger.error("%s", error)
        return
    lacks = shortage(error)
    if isinstance(error, UserError | OSError) and not lacks:
        raise error
    if isinstance(error, LockedError):
        logger.warning("%s: skipped: another process is already training this run", run.id)
    elif lacks:
        logger.debug("%s", error)
        free_memory(error)
        remedy = (
            f". {_memory_advice(run, Record(folder).state())}" if lacks.startswith("out of") else ""
        )
        _record_error(folder, run, f"{lacks}{remedy}")
    elif isinstance(error, DeadProcessError):
        ours = "Traceback" in str(error)
        _record_error(folder, run, str(error).splitlines()[-1 if ours else 0])
        if ours:
            logger.error("%s", error)
    else:
        _record_error(folder, run, f"{type(error).__name__}: {error}")
        logger.error("%s", "".join(traceback.format_exception(error)))


def free_memory(error: Exception) -> None:
    """Free the memory of what failed for lack of it: the table and other runs need it."""
    error.__traceback__ = error.__context__ = None  # their frames hold the network
    return_freed_memory()


def _record_error(folder: Path, run: Run, reason: str) -> None:
    """Log that a run failed and record it, unless another process has started on the run."""
    logger.error("%s: %s", run.id, reason)
    reason = shorten(reason, MOST_REASON, placeholder=" ...")
    record = Record(folder)
    if record.state() == "finished":  # only the test failed
        return
    with suppress(LockedError), record.locked():
        events = record.events()
        record.append("error", events[-1]["iteration"] if events else 0, reason=reason)


def advice_for_test(config: RunConfig, test: EvaluationConfig) -> str:
    """Advise which setting to lower so that a test needs less memory."""
    detector = config.detector
    if detector.is_used and detector.step != "localisation_regions":
        return "Fewer or smaller evaluation.sizes need less memory; that is another test."
    return f"evaluation.batch_size={max(1, test.batch_size // 2)} needs about half of the memory."


def _memory_advice(run: Run, state: str) -> str:
    """Advise which setting to lower, and how far, so that a run needs less memory."""
    config, recipe = run.config, run.config.recipe
    detector = config.detector
    if state == "finished":
        return advice_for_test(config, config.evaluation)
    if detector.localises:
        return (
            f"More processes (compute.processes) need less memory each, and so does a "
            f"recipe.batch_size below {recipe.batch_size}; the table will note it."
        )
    if detector.is_used:
        return (
            f"A detector has one photograph in memory at a time: data.image_size below "
            f"{config.data.image_size} pixels needs less, and so does a detector.sampled_regions "
            f"below {detector.sampled_regions}; the table will note it."
        )
    group, device = recipe.bn_batch or recipe.batch_size, choose_device(config.compute)
    processes = Group(size=num_processes(config))
    own = at_once(config, processes)
    if group < own.recipe.batch_size and not accumulates(config, device, processes):
        share = training_bytes(config) / training_bytes(own)
        return (
            f"compute.accumulate=true needs about {share:.0%} of the memory, and gives the same "
            f"result more slowly."
        )
    again = ""
    model = config.model
    if config.compute.recompute is None and isinstance(model, ModelConfig) and model.has_blocks:
        segment = max(1, round(math.sqrt(model.depth / 2)))  # about as many segments
        again = f"compute.recompute={segment} needs much less, for a third more arithmetic. Or "
    if device.type == "cuda":
        number, what = largest_bn_batch(config), "is the largest that fits"
    else:
        smaller = (n for n in range(group // 2, 1, -1) if recipe.batch_size % n == 0)
        number = next(smaller, None)
        what = f"needs about {(number or 0) / group:.0%} of the memory"
    if number is None:
        return f"{again}set recipe.batch_size below {recipe.batch_size}; the table will note it."
    return (
        f"{again}recipe.bn_batch={number} {what}: batch-norm statistics are then over fewer than "
        f"{group} images, which the table will note."
    )
