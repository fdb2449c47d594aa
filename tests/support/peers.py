"""Work of processes that fail or wait: what they import first takes most of their time."""

import os
import signal
import time

from resnet_repro.errors import StoppedRun, UserError
from tests.support.runs import PATIENCE


def fail_or_save(path, group):
    """Fail in the second process; save in the first, slowly, when it is told to stop."""
    if group.rank == 1:
        raise UserError("no data")
    assert group.stop.wait(PATIENCE)
    time.sleep(0.5)
    path.touch()


def die_save_or_wait(group):
    """End the second process as a kernel does that lacks memory; the third would wait long."""
    if group.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if group.rank == 0:
        assert group.stop.wait(PATIENCE)
        raise StoppedRun("saved at iteration 1")
    time.sleep(1000)
