"""The processes that torchrun or srun started with us.

Imports of torch stay inside: who speaks must be known before anything that waits for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_repro.distributed import Group

logger = logging.getLogger("resnet_repro")


def is_silent() -> bool:
    """Return whether torchrun or srun started several of us, and we are not the first."""
    ask = os.environ.get
    if int(ask("WORLD_SIZE", "1")) > 1:
        return ask("RANK", "0") != "0"
    return int(ask("SLURM_STEP_NUM_TASKS", "1")) > 1 and ask("SLURM_PROCID", "0") != "0"


@contextmanager
def meet() -> Iterator[Group]:
    """Meet the processes that were started with us; alone, a `Group` of one."""
    from resnet_repro.distributed import ALONE, join, leave, started_by_others

    found = started_by_others()
    if found is None:
        yield ALONE
        return
    join(*found)
    if not found[0].is_main:
        for handler in logger.handlers:
            handler.setLevel(logging.CRITICAL)
    yield found[0]
    leave()  # not after an error: the others would not come
