"""The members of a tar or zip file, whoever made it."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")
# What the libraries raise of a file that is cut off, damaged, encrypted or of an unknown method;
# gzip and bz2 raise an OSError too, without a number.
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    RuntimeError,
)

Opener = Callable[[], IO[bytes] | None]


def is_packed(file: Path) -> bool:
    """Return whether a file is, or by its name should be, a tar or zip file, damaged or not."""
    if file.suffix in SUFFIXES:
        return True
    with suppress(*DAMAGED):
        return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)
    return True


def why_damaged(error: Exception) -> str:
    """Return a line on what `DAMAGED` or an OSError says of a file."""
    return str(error).split("\n")[0].rstrip(":") or "it is cut off"


def members(file: Path) -> Iterator[tuple[str, Opener | None]]:
    """Yield the name of each member but folders, and how to open it; None if it is no plain file.

    Links, devices and sparse files, a few bytes of which can make any number of zeros, are not.

    Raises:
        OSError: The file cannot be read, or is damaged.
        DAMAGED: It is damaged, or no tar or zip file.
    """
    # A tar first: one whose last member is a zip file, as a checkpoint is, passes for one itself.
    if not tarfile.is_tarfile(file) and (file.suffix == ".zip" or zipfile.is_zipfile(file)):
        with zipfile.ZipFile(file) as zipped:
            for info in zipped.infolist():
                if not info.is_dir():
                    is_link = stat.S_ISLNK(info.external_attr >> 16)
                    yield info.filename, None if is_link else partial(zipped.open, info)
        return
    with tarfile.open(file) as tar:
        for member in tar:
            if not member.isdir():
                is_plain = member.isreg() and not member.issparse()
                yield member.name, partial(tar.extractfile, member) if is_plain else None
