"""Copies of files, made next to where they are to be."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from resnet_repro.records.errors import DamagedError


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Raise a DamagedError where a file of the source cannot be read."""
    try:
        yield
    except OSError as error:
        raise DamagedError(f"{error.filename or folder}: {error.strerror}") from error


def stage(files: Iterable[Path], folder: Path, staging: Path) -> Path:
    """Copy files of a run to a folder next to the runs, and return that.

    Raises:
        DamagedError: One of them cannot be read.
        OSError: The copy cannot be written.
    """
    copies = staging / folder.name
    copies.mkdir()
    for path in files:
        copy = copies / path.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        _copy_file(path, copy)
    return copies


def _copy_file(path: Path, copy: Path) -> None:
    with copy.open("xb") as file:
        with readable(path):
            content = path.open("rb")
        with content:
            while chunk := _read_chunk(content, path):
                file.write(chunk)
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave a whole run with empty files


def _read_chunk(content: IO[bytes], path: Path) -> bytes:
    with readable(path):
        return content.read(2**20)
