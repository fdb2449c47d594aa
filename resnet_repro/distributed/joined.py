"""The process group started by torchrun or srun.

Imports torch only when used: this module is imported before it is known whether a verb needs it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resnet_repro.distributed.started import started_by_others
from resnet_repro.errors import StoppedRun

if TYPE_CHECKING:
    from resnet_repro.distributed.group import Group

logger = logging.getLogger("resnet_repro")


@contextmanager
def joined_group(*, on_gpus: bool) -> Iterator[Group]:
    """Join the process group that torchrun or srun started, if any; otherwise a `Group` of one.

    Args:
        on_gpus: Whether the group also exchanges tensors on GPUs.
    """
    from resnet_repro.distributed.group import SINGLE_PROCESS, Group
    from resnet_repro.distributed.joining import join, leave

    place = started_by_others()
    if place is None:
        yield SINGLE_PROCESS
        return
    group = Group(place.rank, place.size, place.local_rank, place.local_size)
    join(group, place.address, place.port, on_gpus=on_gpus)
    if not group.is_main:
        for handler in logger.handlers:
            handler.setLevel(logging.CRITICAL)
    try:
        yield group
    except StoppedRun:
        leave()
        raise
    leave()  # not after an error: the other processes would not join in
