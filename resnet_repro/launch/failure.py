"""A run that fails: recorded and reported, so that the others go on."""

import logging
import math
import traceback
from contextlib import suppress
from pathlib import Path

from resnet_repro.engine.device import choose_device
from resnet_repro.engine.execution import return_freed_memory
from resnet_repro.engine.fitting import largest_bn_batch
from resnet_repro.errors import UserError, shortage
from resnet_repro.launch.processes import DeadProcessError
from resnet_repro.plan import Run
from resnet_repro.records import DamagedError, LockedError, Record

logger = logging.getLogger("resnet_repro")


def record_failure(run: Run, folder: Path, error: Exception) -> None:
    """Say and record why a run did not end; what would stop every run is raised.

    Raises:
        UserError: Wrong settings, missing data.
        OSError: A full disk, a folder that cannot be written.
    """
    if isinstance(error, DamagedError):
        logger.error("%s", error)
        return
    lacks = shortage(error)
    if isinstance(error, UserError | OSError) and not lacks:
        raise error
    if isinstance(error, LockedError):
        logger.warning("%s: another process is training it; left to that one", run.id)
    elif lacks:
        logger.debug("%s", error)
        traceback.clear_frames(error.__traceback__)  # which hold the network
        return_freed_memory()  # the table, and the other runs, need some
        remedy = (
            f". {_memory_advice(run, Record(folder).state())}" if lacks.endswith("memory") else ""
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


def _record_error(folder: Path, run: Run, reason: str) -> None:
    """Say that a run stopped and record it, unless another process is in the run by now."""
    logger.error("%s: %s", run.id, reason)
    record = Record(folder)
    if record.state() == "finished":  # only its test failed
        return
    with suppress(LockedError), record.locked():
        events = record.events()
        record.append("error", events[-1]["iteration"] if events else 0, reason=reason)


def _memory_advice(run: Run, state: str) -> str:
    """Say which setting lowers the memory of a run, and how far it must be lowered."""
    config, recipe = run.config, run.config.recipe
    if state == "finished":
        half = max(1, config.evaluation.batch_size // 2)
        return f"evaluation.batch_size={half} needs half of it for the test."
    group = recipe.bn_batch or recipe.batch_size
    again = ""
    if config.compute.recompute is None:
        segment = max(1, round(math.sqrt(config.model.depth / 2)))  # blocks; about as many segments
        again = f"compute.recompute={segment} needs much less, for a third more arithmetic. Or "
    if choose_device(config.compute).type == "cuda":
        number, what = largest_bn_batch(config), "is the largest that fits"
    else:
        smaller = (n for n in range(group // 2, 1, -1) if recipe.batch_size % n == 0)
        number = next(smaller, None)
        what = f"needs about {(number or 0) / group:.0%} of it"
    if number is None:
        return (
            f"{again}a smaller recipe.batch_size than {recipe.batch_size} needs less, and is noted."
        )
    return (
        f"{again}recipe.bn_batch={number} {what}: fewer images than {group} share batch-norm "
        f"statistics then, which the table will say."
    )
