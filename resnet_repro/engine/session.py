"""The start of a run's session: its lock, its checkpoint's presence, its settings and machine."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from omegaconf import OmegaConf

from resnet_repro.distributed.group import Group
from resnet_repro.errors import UserError
from resnet_repro.files import write_atomically
from resnet_repro.machine import num_cores
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.records.errors import LockedError, MissingWeightsError

logger = logging.getLogger("resnet_repro")


@contextmanager
def locked(record: Record, group: Group) -> Iterator[None]:
    """Lock a run for a group; raise a LockedError in all its processes if it is locked."""
    with ExitStack() as stack:
        holder = None
        try:
            stack.enter_context(record.locked())
        except LockedError as error:
            holder = str(error)
        if (holder := group.broadcast(holder)) is not None:
            raise LockedError(holder)
        yield


def check_same(record: Record, iteration: int | None, group: Group) -> None:
    """Raise a UserError in all processes where they found different checkpoints.

    Args:
        record: The run's record.
        iteration: The iteration of this process's checkpoint; None if it found none.
        group: The processes that train the run.
    """
    found = group.gather(iteration)
    if len(set(found)) > 1:
        words = ", ".join("none" if each is None else str(each) for each in found)
        raise UserError(
            f"{record.folder}: its processes see checkpoints of different iterations ({words}); "
            f"results= must be a folder that all machines share.\nIf it is one, it shows other "
            f"machines what is new a little later: run the same command again."
        )


def check_not_lost(record: Record) -> None:
    """Raise a MissingWeightsError where training anew would replace the record of more."""
    lost = record.lost_checkpoint()
    if lost is not None:
        raise MissingWeightsError(
            f"{record.folder.name} was saved at iteration {lost}, and its checkpoint is not here: "
            f"copy last.pt back from where it was trained, or delete its folder to train it again"
        )


def start_session(record: Record, run: Run, session: dict[str, Any]) -> None:
    """Record a session that starts; warn of what differs from the first one, and so its results.

    Raises:
        UserError: The run was started with different data.
    """
    before = record.environment() if record.was_saved() else []
    if before and before[0].get("data", session["data"]) != session["data"]:
        raise UserError(
            f"{record.folder} was started with different data (checksum {before[0]['data']}, now "
            f"{session['data']}): restore that data, or delete the folder to start over"
        )
    for what in ("torch", "device", "processes", "threads", "execution"):
        if before and before[0].get(what) != session[what]:
            logger.warning(
                "%s: started with %s %s, resuming with %s: results will not be bit-identical",
                record.folder.name,
                what,
                before[0].get(what),
                session[what],
            )
    if session["threads"] > num_cores():
        logger.warning(
            "%d threads on %d cores wait for each other; compute.threads=%d is faster",
            *(session["threads"], num_cores(), num_cores()),
        )
    record.add_session(session)
    write_atomically(record.folder / "config.yaml", OmegaConf.to_yaml(asdict(run.config)))
