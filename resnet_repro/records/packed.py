"""Files of records inside a tar or zip file, read without unpacking anything to the disk."""

from pathlib import Path, PurePosixPath

from resnet_repro.errors import UserError
from resnet_repro.records.archive import RECORDS_FILE
from resnet_repro.records.members import DAMAGED, members, why_damaged

LARGEST = 2**30  # bytes of all files of records together: more is no table of ours


def read_packed(path: Path) -> dict[PurePosixPath, bytes]:
    """Return the files of records in a tar or zip file, by their names there.

    Links and all other files are skipped. Of two files with one name the last one counts.

    Raises:
        UserError: It cannot be read, or what it holds is too large.
    """
    found: dict[PurePosixPath, bytes] = {}
    left = LARGEST
    try:
        for member, opened in members(path):
            name = PurePosixPath(member)
            file = opened() if opened and name.name == RECORDS_FILE else None
            if file is None:
                continue
            with file:
                found[name] = file.read(left + 1)
            left -= len(found[name])
            if left < 0:
                raise UserError(f"{path}: its files of records have more than {LARGEST >> 20} MiB")
    except (OSError, *DAMAGED) as error:
        raise UserError(f"{path} cannot be read ({why_damaged(error)}): pack it again") from error
    return found
