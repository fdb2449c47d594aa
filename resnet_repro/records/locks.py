"""The lock of a run's folder, which the process that trains or tests it holds."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resnet_repro.files import lock
from resnet_repro.records.errors import DamagedError, LockedError

ATTEMPTS = 10
NAME = "lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a run against other processes; a process that dies releases its lock.

    Raises:
        LockedError: Another process is using the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("a") as file:
        for attempt in range(ATTEMPTS):
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if attempt == ATTEMPTS - 1:
                    raise LockedError(str(folder)) from error
                time.sleep(0.05)  # `status` holds it briefly
        try:
            yield
        finally:  # closing is not enough: readers of another run have inherited the file
            lock(file, fcntl.LOCK_UN)


def is_locked(folder: Path) -> bool:
    """Return whether a process is using a run.

    Raises:
        DamagedError: The folder belongs to somebody else, and cannot be read.
    """
    try:
        with (folder / NAME).open() as file:
            # NFS allows no other lock on a file open for reading.
            lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        pass
    except PermissionError as error:
        raise DamagedError(
            f"{folder} cannot be read ({error.strerror}): ask its owner for access, "
            f"or set results=DIR to a folder of your own"
        ) from error
    return False
