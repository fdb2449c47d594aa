"""Your own images in class folders, `ROOT/train/CLASS/*.jpg` and `ROOT/val/CLASS/*.jpg`.

They are held in memory.
"""

import logging
from pathlib import Path

import torch
from torchvision.transforms import v2

from resnet_repro.data.class_folders import labelled, require_same
from resnet_repro.data.decode import REMEDY, UnreadableImage, read_image
from resnet_repro.data.images import DataSet, Images
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig

logger = logging.getLogger("resnet_repro")


def load(config: DataConfig) -> DataSet[Images]:
    """Read all images: resize the shorter side to `image_size` and crop the centre.

    Raises:
        UserError: A folder is missing, the two differ in classes, or an image cannot be read.
    """
    root = Path(config.root)
    train_folder = root / "train"
    test_folder = next((root / n for n in ("val", "test") if (root / n).is_dir()), root / "val")
    for folder in (train_folder, test_folder):
        if not folder.is_dir():
            raise UserError(
                f"there is no folder {folder}\ndata=folder reads ROOT/train/CLASS/*.jpg and "
                f"ROOT/val/CLASS/*.jpg; set data.root=ROOT."
            )
    classes = require_same(train_folder, test_folder)
    unreadable: list[str] = []
    train = _read(train_folder, classes, config, unreadable)
    test = _read(test_folder, classes, config, unreadable)
    return DataSet(train, test, tuple(classes), tuple(unreadable))


def _read(folder: Path, classes: list[str], config: DataConfig, unreadable: list[str]) -> Images:
    """Read a part; append to `unreadable` the message about each file skipped."""
    shrink = v2.Compose(
        [v2.Resize(config.image_size, antialias=True), v2.CenterCrop(config.image_size)]
    )
    pixels, labels = [], []
    for name, label in zip(*labelled(folder, classes), strict=True):
        try:
            pixels.append(shrink(read_image(folder / name)))
            labels.append(label)
        except UnreadableImage as error:
            if not config.skip_unreadable:
                raise UserError(f"{error}\n{REMEDY}") from error
            logger.warning("skipped: %s", error)
            unreadable.append(str(error))
    if not pixels:
        raise UserError(f"no image in {folder} can be read; the last error: {unreadable[-1]}")
    return Images(torch.stack(pixels), torch.tensor(labels))
