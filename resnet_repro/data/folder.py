"""Any images that lie in class folders: `ROOT/train/CLASS/*.jpg`, `ROOT/val/CLASS/*.jpg`."""

from pathlib import Path

import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from resnet_repro.config import DataConfig
from resnet_repro.data.images import DataSet, Images
from resnet_repro.errors import UserError


def load(config: DataConfig) -> DataSet[Images]:
    """Read every image, its shorter side resized to `image_size` and its centre cut out.

    Raises:
        UserError: A folder is missing, the two differ in classes, or an image cannot be read.
    """
    root = Path(config.root).expanduser()
    train_folder = root / "train"
    test_folder = next((root / n for n in ("val", "test") if (root / n).is_dir()), root / "val")
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(config.image_size, antialias=True),
            v2.CenterCrop(config.image_size),
        ]
    )
    parts = []
    for folder in (train_folder, test_folder):
        try:
            parts.append(ImageFolder(folder, transform))
        except FileNotFoundError as error:
            raise UserError(
                f"{folder}: {_first_line(error)}\ndata=folder reads ROOT/train/CLASS/*.jpg and "
                f"ROOT/val/CLASS/*.jpg; say where with data.root=ROOT."
            ) from error
    train, test = parts
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        raise UserError(f"{train_folder} and {test_folder} differ in classes: {', '.join(odd[:5])}")
    return DataSet(_read(train), _read(test), tuple(train.classes))


def _read(part: ImageFolder) -> Images:
    pixels = []
    for path, _ in part.samples:
        try:
            pixels.append(part.transform(part.loader(path)))
        except Exception as error:  # Pillow raises half a dozen kinds on damaged files
            raise UserError(f"{path} cannot be read as an image: {_first_line(error)}") from error
    return Images(torch.stack(pixels), torch.tensor(part.targets))


def _first_line(error: Exception) -> str:
    return f"{error}".split("\n")[0] or type(error).__name__
