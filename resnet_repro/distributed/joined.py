"""The process group started by torchrun or srun.

Imports torch only when used: this module is imported before it is known whether a verb needs it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resnet_repro.distributed.started import started_by_others

if TYPE_CHECKING:
    from resnet_repro.distributed.group import Group

logger = logging.getLogger("resnet_repro")


@contextmanager
def joined_group() -> Iterator[Group]:
    """Join the process group that torchrun or srun started, if any; otherwise a `Group` of one."""
    from resnet_repro.distributed.group import SINGLE_PROCESS, Group, join, leave

    place = started_by_others()
    if place is None:
        yield SINGLE_PROCESS
        return
    group = Group(place.rank, place.size, place.local_rank, place.local_size)
    join(group, place.address, place.port)
    if not group.is_main:
        for handler in logger.handlers:
            handler.setLevel(logging.CRITICAL)
    yield group
    leave()  # not after an error: the other processes would not join in
