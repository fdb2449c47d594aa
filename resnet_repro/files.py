"""Reading and writing files whole: nobody sees a file that is half written."""

import errno
import fcntl
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

logger = logging.getLogger("resnet_repro")

STALE_SECONDS = 3600  # seconds after which a temporary file belongs to a process that was killed
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)  # the folder is somebody else's


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file so that a reader, or a power cut, gets the old one or the new one."""
    temporary = write_temporary(path, content)
    try:
        temporary.replace(path)
    except OSError:  # a folder has the name, for one
        temporary.unlink(missing_ok=True)
        raise


def write_temporary(path: Path, content: str | bytes | memoryview) -> Path:
    """Write what is to become `path` to a temporary file next to it, and return that file.

    Every call has a name of its own, so that several processes can write the same file. The
    permissions are those of any new file, as the umask has it.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # The clock is the file system's, which may differ from ours.
        remove_stale(path, temporary.stat().st_mtime - STALE_SECONDS)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk it would keep the last of the space
        raise
    return temporary


def remove_stale(path: Path, before: float = float("inf")) -> None:
    """Remove the temporary files of `path` that were last written before a time."""
    for left in path.parent.iterdir():
        if left.name.startswith(f"{path.name}.") and left.suffix == ".tmp":
            with suppress(OSError):
                if left.stat().st_mtime < before:
                    left.unlink()


def read_bytes(path: Path) -> bytes | None:
    """Return what a file holds; None where there is none.

    Raises:
        OSError: It cannot be read: a folder of that name, a pipe, no permission.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(0, "it is not a regular file", str(path))
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


# What `flock` answers on Lustre, FUSE, NFS or CIFS where it is not set up.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


_without_locks: set[int] = set()  # file systems of which it was said


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Wait until no other process holds a lock, and hold it.

    Where it cannot be written there is none: no other process writes there either.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            lock(stack.enter_context(path.open("a")), fcntl.LOCK_EX)
        yield


def lock(file: IO[str], how: int) -> None:
    """Lock a file as `flock` does; where its file system cannot, go on without, and say so once.

    Raises:
        BlockingIOError: Another process has it, and `how` is not to wait.
    """
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        device = os.fstat(file.fileno()).st_dev
        if device not in _without_locks:
            _without_locks.add(device)
            logger.warning(
                "%s is on a file system without locks (%s): two processes are not kept apart "
                "there, so start each run once",
                *(Path(file.name).parent, error.strerror),
            )
