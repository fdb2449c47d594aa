"""Official archives: downloaded, checked by their MD5, unpacked."""

import shutil
from pathlib import Path

from torchvision.datasets.utils import check_integrity, download_url, extract_archive

from resnet_repro.errors import UserError


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


def unpack(archive: Path, into: Path, made: Path) -> None:
    """Unpack an archive; on failure, remove what was made of a folder that is new.

    Args:
        archive: The archive.
        into: The folder to unpack it in.
        made: The folder that it makes there.

    Raises:
        UserError: It cannot be unpacked, for example as the disk is full.
    """
    before = made.is_dir()
    try:
        extract_archive(archive, into)
    except BaseException as error:  # also Ctrl-C
        if not before:
            shutil.rmtree(made, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise UserError(
            f"{archive} cannot be unpacked into {archive.parent}: {error.strerror or error}"
        ) from error
