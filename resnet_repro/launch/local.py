"""The runs of a plan, one after the other, in this process."""

import logging
import traceback
from contextlib import suppress
from pathlib import Path

import torch

from resnet_repro.engine.train import train
from resnet_repro.errors import UserError
from resnet_repro.plan import Plan, Run
from resnet_repro.records import LockedError, Record

logger = logging.getLogger("resnet_repro")


def run_all(plan: Plan, runs: list[Run]) -> bool:
    """Train runs of a plan; return whether all are finished now.

    A run that fails is recorded and reported, and the others go on: no row costs the table.

    Raises:
        UserError: What would stop every run: wrong settings, missing data.
        OSError: Likewise: a full disk, a folder that cannot be written.
        StoppedRun: The user asked to stop.
    """
    return all([_run_one(plan, run) for run in runs])


def _run_one(plan: Plan, run: Run) -> bool:
    folder = plan.run_folder(run)
    try:
        train(run, folder)
    except LockedError:
        logger.warning("%s: another process is training it; left to that one", run.id)
        return False
    except torch.OutOfMemoryError as error:
        logger.debug("%s", error)
        _fail(folder, run, f"out of GPU memory. {_smaller(run)}")
        return False
    except (UserError, OSError):
        raise
    except Exception as error:
        _fail(folder, run, f"{type(error).__name__}: {error}")
        logger.error("%s", traceback.format_exc())
        return False
    return True


def _fail(folder: Path, run: Run, reason: str) -> None:
    """Say that a run stopped and record it, unless another process is in the run by now."""
    logger.error("%s: %s", run.id, reason)
    record = Record(folder)
    with suppress(LockedError), record.locked():
        events = record.events()
        record.append("error", events[-1]["iteration"] if events else 0, reason=reason)


def _smaller(run: Run) -> str:
    """Say which setting lowers the memory of a run."""
    recipe = run.config.recipe
    group = recipe.bn_batch or recipe.batch_size
    smaller = [n for n in range(2, group // 2 + 1) if recipe.batch_size % n == 0]
    if not smaller:
        return f"A smaller recipe.batch_size than {recipe.batch_size} needs less, and is noted."
    return (
        f"recipe.bn_batch={smaller[-1]} needs about {smaller[-1] / group:.0%} of it: fewer images "
        f"share batch-norm statistics, which the table will say."
    )
