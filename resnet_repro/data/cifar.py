"""CIFAR-10 and CIFAR-100 from the official files."""

from contextlib import suppress
from pathlib import Path

import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import check_integrity

from resnet_repro.data.fetch import have_archive, unpack
from resnet_repro.data.images import DataSet, Images
from resnet_repro.errors import UserError
from resnet_repro.files import exclusive_lock
from resnet_repro.settings.data import DataConfig

SETS: dict[str, type[CIFAR10]] = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def load(config: DataConfig) -> DataSet[Images]:
    """Read the 50,000 training and 10,000 test images; download them first if missing.

    Raises:
        UserError: The files are missing and cannot be downloaded, or one is not the official file.
    """
    kind = SETS[config.name]
    root = Path(config.root)
    _ensure(kind, root, config.title, download=config.download)
    parts = [kind(root, train=train) for train in (True, False)]
    train, test = (
        Images(
            torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(),
            torch.tensor(part.targets),
        )
        for part in parts
    )
    return DataSet(train, test, tuple(parts[0].classes))


def _ensure(kind: type[CIFAR10], root: Path, title: str, *, download: bool) -> None:
    missing, damaged = _look(kind, root)
    if not missing and not damaged:
        return
    if root.is_file():
        raise UserError(f"data.root={root} is a file; set data.root to its folder")
    if (root / kind.meta["filename"]).is_file():
        raise UserError(f"data.root={root} is one level too deep: set data.root={root.parent}")
    folder, archive = root / kind.base_folder, root / kind.filename
    what = f"{folder / missing[0]}" if folder.is_dir() and missing else f"{title} in {root}"
    remedy = f"Put {kind.filename} (from {kind.url}) into {root}, or set data.root=FOLDER."
    if missing and not download and not archive.is_file():
        raise UserError(f"there is no {what}, and data.download=false. {remedy}")
    with suppress(OSError):  # the download reports the reason
        root.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(root / f".{kind.base_folder}.lock"):  # several runs may start at once
        missing, damaged = _look(kind, root)  # another process may have downloaded them
        if damaged:
            raise UserError(
                f"{folder / damaged[0]} is damaged: its MD5 differs from {title}'s official "
                f"file.\nDelete {folder} and run the same command again to download it."
            )
        if not missing:
            return
        have_archive(
            archive, kind.url, kind.tgz_md5, missing=what, remedy=remedy, download=download
        )
        unpack(archive, root)


def _look(kind: type[CIFAR10], root: Path) -> tuple[list[str], list[str]]:
    """Return the names of the missing files, and of those whose MD5 is wrong."""
    folder = root / kind.base_folder
    files = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
    missing = [name for name, _ in files if not (folder / name).is_file()]
    there = [(name, md5) for name, md5 in files if name not in missing]
    return missing, [name for name, md5 in there if not check_integrity(folder / name, md5)]
