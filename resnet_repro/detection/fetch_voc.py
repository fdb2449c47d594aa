"""The archives of PASCAL VOC: downloaded, checked by their MD5, unpacked into ROOT/VOCdevkit."""

import logging
from contextlib import suppress
from pathlib import Path

from torchvision.datasets.voc import DATASET_YEAR_DICT

from resnet_repro.data.fetch import have_archive, unpack
from resnet_repro.errors import UserError
from resnet_repro.files import exclusive_lock

logger = logging.getLogger("resnet_repro")

DEVKIT = "VOCdevkit"
LISTS = "ImageSets/Main"
# The archive of each set, as torchvision names it. What else there is (VOC2012/test) has no labels
# that are public.
ARCHIVES = {
    "VOC2007/train": "2007",
    "VOC2007/val": "2007",
    "VOC2007/trainval": "2007",
    "VOC2007/test": "2007-test",
    "VOC2012/train": "2012",
    "VOC2012/val": "2012",
    "VOC2012/trainval": "2012",
}


def fetch(root: Path, name: str, looked: str, *, download: bool) -> None:
    """Put the photographs and annotations of one of VOC's sets into ROOT/VOCdevkit.

    Args:
        root: The folder of the data.
        name: The set, one of `ARCHIVES`.
        looked: Where it is not, for messages.
        download: Whether it may be downloaded; an archive that is there is unpacked in any case.

    Raises:
        UserError: It is missing and cannot or may not be downloaded, or cannot be unpacked.
    """
    if root.is_file():
        raise UserError(f"data.root={root} is a file; set data.root to its folder")
    official = DATASET_YEAR_DICT[ARCHIVES[name]]
    archive = root / official["filename"]
    with suppress(OSError):  # the download reports the reason
        root.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(root / f".{DEVKIT}.lock"):  # several runs may start at once
        if (root / DEVKIT / Path(name).parent / LISTS / f"{Path(name).name}.txt").is_file():
            return  # another process has unpacked it
        if download and not archive.is_file():
            logger.info("downloading %s to %s ...", official["url"], root)
        have_archive(
            archive,
            official["url"],
            official["md5"],
            missing=f"{name} of PASCAL VOC: no file {looked}",
            remedy=f"Put {archive.name} (from {official['url']}) into {root}, or set "
            f"data.root=FOLDER.",
            download=download,
        )
        logger.info("unpacking %s ...", archive)
        unpack(archive, root, last=Path(LISTS).name)
