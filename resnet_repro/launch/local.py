"""The runs of a plan, one after the other, in this process."""

import errno
import logging
import traceback
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
        UserError: What would stop every run: wrong settings, missing data, a full disk.
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
        logger.error(_fail(folder, run, f"out of GPU memory. {_smaller(run)}"))
        logger.debug("%s", error)
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(
            f"{error.strerror}, writing {folder}: what was saved before is whole. Free some space "
            f"or say results=DIR on another disk, then type the line again."
        ) from error
    except (UserError, AssertionError):
        raise
    except Exception as error:
        _fail(folder, run, f"{type(error).__name__}: {error}")
        logger.error("%s", traceback.format_exc())
        return False
    return True


def _fail(folder: Path, run: Run, reason: str) -> str:
    record = Record(folder)
    events = record.events()
    record.append("error", events[-1]["iteration"] if events else 0, reason=reason)
    return f"{run.id}: {reason}"


def _smaller(run: Run) -> str:
    """Say which setting halves the memory of a run."""
    group = run.config.recipe.bn_batch or run.config.recipe.batch_size
    return (
        f"recipe.bn_batch={group // 2} needs half of it: fewer images share batch-norm statistics, "
        f"which the table will say."
    )
