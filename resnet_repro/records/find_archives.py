"""Which files of records a folder of results has."""

from pathlib import Path
from typing import NamedTuple

from resnet_repro.errors import UserError
from resnet_repro.records.archive import RECORDS_FILE

# Folders in an experiment's folder that hold tables with other settings.
CHANGED = ("changed-*", "sweep-*")


class RecordsFile(NamedTuple):
    """A file of records.

    Attributes:
        path: Where it is; in a tar or zip file, that file's path and the name inside.
        packed: Its bytes, where it is inside a tar or zip file; None for a file on the disk.
    """

    path: Path
    packed: bytes | None = None


def find_archives(folder: Path) -> list[Path]:
    """Return the files of records in a folder of one experiment or of all results.

    Raises:
        UserError: There are none.
    """
    if (folder / RECORDS_FILE).is_file():
        return [folder / RECORDS_FILE]
    found = archives_in(folder)
    if not found:
        raise UserError(
            f"{folder}: there is no {RECORDS_FILE} in it or in its experiments' folders"
        )
    return found


def archives_in(results: Path) -> list[Path]:
    """Return every file of records of an output root, those of changed settings and sweeps last."""
    inner = (each for kind in CHANGED for each in sorted(results.glob(f"*/{kind}/{RECORDS_FILE}")))
    return [*sorted(results.glob(f"*/{RECORDS_FILE}")), *inner]
