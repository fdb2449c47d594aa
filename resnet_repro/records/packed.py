"""Files of records inside a tar or zip file, read without unpacking anything to the disk."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from resnet_repro.errors import UserError
from resnet_repro.records.archive import NAME

SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")
LARGEST = 2**30  # bytes of all files of records together: more is no table of ours
# What the libraries raise of a file that is cut off, damaged, encrypted or of an unknown method.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def is_packed(path: Path) -> bool:
    """Return whether a file is, or by its name should be, a tar or zip file."""
    return path.suffix in SUFFIXES or _is_zip(path) or tarfile.is_tarfile(path)


def _is_zip(path: Path) -> bool:
    return path.suffix == ".zip" or zipfile.is_zipfile(path)


def read_packed(path: Path) -> dict[PurePosixPath, bytes]:
    """Return the files of records in a tar or zip file, by their names there.

    Links and all other files are skipped. Of two files with one name the last one counts.

    Raises:
        UserError: It cannot be read, or what it holds is too large.
    """
    found, left = {}, LARGEST
    try:
        for name, file in _zipped(path) if _is_zip(path) else _tarred(path):
            found[name] = file.read(left + 1)
            left -= len(found[name])
            if left < 0:
                raise UserError(f"{path}: its files of records have more than {LARGEST >> 20} MiB")
    except UNREADABLE as error:
        why = str(error).split("\n")[0].rstrip(":") or "it is cut off"
        raise UserError(f"{path} cannot be read ({why}): pack it again") from error
    return found


def _zipped(path: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with zipfile.ZipFile(path) as packed:
        for member in packed.infolist():
            name = PurePosixPath(member.filename)
            if name.name == NAME and not member.is_dir():
                with packed.open(member) as file:
                    yield name, file


def _tarred(path: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with tarfile.open(path) as packed:
        for member in packed:
            name = PurePosixPath(member.name)
            if name.name == NAME and member.isreg() and (file := packed.extractfile(member)):
                yield name, file
