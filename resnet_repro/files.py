"""Atomic file writes and file locks: no reader sees a half-written file."""

import errno
import fcntl
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

logger = logging.getLogger("resnet_repro")

STALE_SECONDS = 3600  # age in seconds at which a temporary file was left by a killed process
TEMPORARY = re.compile(r"(.+)\.\d+-[0-9a-f]{8}\.tmp")  # name of a temporary file: of which one
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)  # no write permission for the folder
_tidied: set[Path] = set()  # folders in which this process has looked for such files


def cache_folder() -> Path:
    """Return the folder of what can be made again: in `XDG_CACHE_HOME`, or in `~/.cache`.

    Raises:
        OSError: The user has no home folder.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path("~/.cache").expanduser()) / "resnet-repro"
    except RuntimeError as error:
        raise OSError(errno.ENOENT, "no home folder, set XDG_CACHE_HOME", "~/.cache") from error


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file atomically: readers, and a power cut, see the old content or the new."""
    temporary = write_temporary(path, content)
    try:
        temporary.replace(path)
    except OSError:  # for example, `path` is a folder
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary file to be written, which becomes `path` if no error is raised."""
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def write_temporary(path: Path, content: str | bytes | memoryview) -> Path:
    """Write the future content of `path` to a temporary file next to it; return that file.

    Each call uses a unique name, so several processes can write the same file. Permissions follow
    the umask, as for any new file.
    """
    temporary = _temporary(path)
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        folder = path.parent.absolute()
        if folder not in _tidied:  # once: thousands of files take long to list
            _tidied.add(folder)
            # Compared by the file system's clock, which may differ from ours.
            remove_temporary(folder, before=temporary.stat().st_mtime - STALE_SECONDS)
    except OSError:
        temporary.unlink(missing_ok=True)  # frees its space on a full disk
        raise
    return temporary


def remove_temporary(folder: Path, of: str | None = None, before: float = float("inf")) -> None:
    """Remove temporary files that killed processes left in a folder.

    Args:
        folder: The folder.
        of: The name of the file that they were to be; None for all.
        before: Only those that were last modified before this time, in seconds since 1970.
    """
    for left in folder.iterdir():
        match = TEMPORARY.fullmatch(left.name)
        if match and of in (None, match[1]):
            with suppress(OSError):
                if left.stat().st_mtime < before:
                    left.unlink()


def read_bytes(path: Path, last: int | None = None) -> bytes | None:
    """Return a file's content; None if it does not exist.

    Args:
        path: The file.
        last: Number of bytes at its end that are enough; None for all.

    Raises:
        OSError: It cannot be read: it is a folder or a pipe, or permission is missing.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(0, "it is not a regular file", str(path))
        if last is None:
            return path.read_bytes()
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last))
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


# Errors of `flock` on Lustre, FUSE, NFS or CIFS mounted without lock support.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


_without_locks: set[int] = set()  # file systems already warned about


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, after waiting until no other process holds it.

    If the lock file cannot be written, no lock is taken: no other process can write there either.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            lock(stack.enter_context(path.open("a")), fcntl.LOCK_EX)
        yield


def lock(file: IO[str], how: int) -> None:
    """Lock a file with `flock`; if its file system has no locks, warn once and continue.

    Raises:
        BlockingIOError: Another process holds the lock and `how` includes LOCK_NB.
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
                "%s is on a file system without locks (%s): start each run only once, "
                "because a second process would not be noticed",
                *(Path(file.name).parent, error.strerror),
            )
