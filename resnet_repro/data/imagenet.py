"""ImageNet's files: class folders of photographs, or the official flat `val/`.

    ROOT/train/n01440764/*.JPEG    one folder per class, named by its WordNet id
    ROOT/val/n01440764/*.JPEG      likewise; or
    ROOT/val/*.JPEG                as in the official archive, together with
    ROOT/ILSVRC2012_devkit_t12/    the official development kit, which has their classes

Classes are numbered in the order of their ids, as is usual.
"""

import os
from pathlib import Path

import numpy as np

from resnet_repro.data.class_folders import class_names, image_names, labelled, require_same
from resnet_repro.data.images import DataSet
from resnet_repro.data.photos import Photos
from resnet_repro.errors import UserError
from resnet_repro.settings.data import IMAGENET, DataConfig

DEVKIT = "ILSVRC2012_devkit_t12"
NUM_PHOTOGRAPHS = 1_281_167, 50_000  # ImageNet's training and validation set


def load(config: DataConfig) -> DataSet[Photos]:
    """List the photographs without reading them.

    Raises:
        UserError: A folder is missing or empty, the two parts differ in classes, or the data set is
            called ImageNet but is not complete.
    """
    root = Path(config.root)
    train_folder, test_folder = root / "train", root / "val"
    for folder in (train_folder, test_folder):
        if not folder.is_dir():
            raise UserError(
                f"{config.title}: there is no folder {folder}, and downloading needs a login.\n"
                f"Set data.root=ROOT, with ROOT/train/CLASS/*.JPEG and "
                f"ROOT/val/CLASS/*.JPEG."
            )
    if class_names(test_folder):
        classes = require_same(train_folder, test_folder)
        test = _photos(test_folder, *labelled(test_folder, classes))
    else:
        classes = class_names(train_folder)
        if not classes:
            raise UserError(f"{train_folder} has no class folders: CLASS/*.JPEG")
        test = _flat(test_folder, classes, root)
    train = _photos(train_folder, *labelled(train_folder, classes))
    if config.title == IMAGENET and (len(train), len(test)) != NUM_PHOTOGRAPHS:
        wanted = "{:,} and {:,}".format(*NUM_PHOTOGRAPHS)
        raise UserError(
            f"{root} has {len(train):,} training and {len(test):,} test photographs, "
            f"ImageNet {wanted}: complete it,\nor set data.title=NAME for another data set; "
            f"its results are not compared with the paper's."
        )
    return DataSet(train, test, tuple(classes))


def _flat(folder: Path, classes: list[str], root: Path) -> Photos:
    """Read the official `val/`: the kit lists the photographs' classes in the order of names."""
    names = image_names(folder)
    kit = root / DEVKIT / "data"
    truth = kit / "ILSVRC2012_validation_ground_truth.txt"
    if not names:
        raise UserError(f"{folder} has neither class folders nor photographs")
    if not truth.is_file():
        raise UserError(
            f"{folder} has no class folders, and {truth} is missing: unpack "
            f"{DEVKIT}.tar.gz in {root}, or sort the photographs into {folder}/CLASS/"
        )
    try:
        numbers = [int(line) for line in truth.read_text().split()]
    except ValueError as error:
        raise UserError(f"{truth} must have a number for each photograph ({error})") from error
    if len(numbers) != len(names):
        raise UserError(f"{truth} is for {len(numbers)} photographs; {folder} has {len(names)}")
    wnids = _wnids(kit / "meta.mat")
    try:
        labels = [classes.index(wnids[number]) for number in numbers]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{truth} names a class that {root}/train does not have: {error}"
        ) from error
    return _photos(folder, names, labels)


def _wnids(path: Path) -> dict[int, str]:
    """Return the WordNet id of each of the kit's class numbers."""
    from scipy.io import loadmat  # slow to import, and rarely needed

    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}


def _photos(folder: Path, names: list[str], labels: list[int]) -> Photos:
    return Photos(folder, np.array([os.fsencode(name) for name in names]), np.array(labels))
