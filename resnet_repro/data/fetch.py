"""Official archives: downloaded, checked by their MD5, unpacked."""

import os
import shutil
import tempfile
from pathlib import Path

from torchvision.datasets.utils import check_integrity, download_url, extract_archive

from resnet_repro.errors import UserError

UNPACKED = ".unpacked-"  # how the name of the folder begins in which an archive is unpacked


def have_archive(
    archive: Path, url: str, md5: str, *, missing: str, remedy: str, download: bool
) -> None:
    """Make sure that an archive is there and is the official one; download it if need be.

    Args:
        archive: Where it is kept.
        url: Where it comes from.
        md5: Its MD5, in hex digits.
        missing: What there is not without it, for messages.
        remedy: What to do if it cannot be downloaded, for messages.
        download: Whether it may be downloaded.

    Raises:
        UserError: It is missing or damaged, and cannot or may not be downloaded.
    """
    if check_integrity(archive, md5):
        return
    if archive.is_file():
        missing += f"; {archive} is damaged: its MD5 differs from the official one"
        remedy = f"Delete {archive}. {remedy}"
    if not download:
        raise UserError(f"there is no {missing}, and data.download=false.\n{remedy}")
    try:
        download_url(url, archive.parent, archive.name, md5)
    except (OSError, RuntimeError) as error:
        # torchvision raises URLError (an OSError) without a network, RuntimeError if the
        # archive's MD5 is wrong.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"there is no {missing}, and it could not be downloaded ({reason}).\n{remedy}"
        ) from error


def unpack(archive: Path, root: Path, last: str | None = None) -> None:
    """Unpack an archive into a folder, beside what is there: each file appears whole.

    Args:
        archive: The archive.
        root: The folder, which this process has locked.
        last: The name of a folder whose files come last: what they name is there then.

    Raises:
        UserError: It cannot be unpacked, for example as the disk is full.
    """
    for left in root.glob(f"{UNPACKED}*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=UNPACKED) as folder:
            extract_archive(archive, Path(folder))
            os.sync()  # else a power cut could leave names without content
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path.parent.name == last):
                target = root / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    except OSError as error:
        raise UserError(
            f"{archive} cannot be unpacked into {root}: {error.strerror or error}"
        ) from error
