"""Data sets, and the inputs that a network gets from them."""

from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

import torch

from resnet_repro.data.feed import Feed, MemoryFeed
from resnet_repro.data.images import DataSet, Images, P
from resnet_repro.data.inputs import Inputs
from resnet_repro.data.synthetic import CLASS_NAMES, generate
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.errors import UserError
from resnet_repro.kernels import Kernels
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.run import RunConfig

if TYPE_CHECKING:
    from resnet_repro.data.photos import Photos

AnyData: TypeAlias = "DataSet[Images] | DataSet[Photos]"
# The module that reads each data set. They import torchvision (seconds), so only one is imported.
READERS = {"cifar10": "cifar", "cifar100": "cifar", "folder": "folder", "imagenet": "imagenet"}
SYNTHETIC = "synthetic"


def load_data(config: DataConfig) -> AnyData:
    """Read the data set that `config` names.

    Raises:
        UserError: The name is unknown, the data set is missing or damaged, its classes or image
            size differ from the settings, or too many images are to be held out.
    """
    if config.name not in (*READERS, SYNTHETIC):
        raise UserError(f"data.name={config.name}: it can be {', '.join([*READERS, SYNTHETIC])}")
    if (config.generate is not None) != (config.name == SYNTHETIC):
        raise UserError(
            "data.generate is the synthetic set's size: use it with data=synthetic only"
        )
    data: AnyData
    if config.name == SYNTHETIC:
        data = _make_synthetic(config)
    else:
        data = import_module(f"resnet_repro.data.{READERS[config.name]}").load(config)
    if len(data.class_names) != config.num_classes:
        number = len(data.class_names)
        raise UserError(f"{config.title} has {number} classes: set data.num_classes={number}")
    size = data.train.pixels.shape[-1] if isinstance(data.train, Images) else config.image_size
    if size != config.image_size:
        raise UserError(f"{config.title} has {size} x {size} pixels: set data.image_size={size}")
    if config.num_validation:
        return hold_out(data, config.num_validation)  # type: ignore[misc]
    return data


def _make_synthetic(config: DataConfig) -> DataSet[Images]:
    assert config.generate is not None
    seed = 2 * config.generate.seed
    train = generate(config.generate.num_train, config.image_size, seed)
    test = generate(config.generate.num_test, config.image_size, seed + 1)
    return DataSet(Images(*train), Images(*test), CLASS_NAMES)


def make_feed(
    data: AnyData,
    config: RunConfig,
    device: torch.device,
    group: Group = SINGLE_PROCESS,
    inputs: Inputs | None = None,
    kernels: Kernels | None = None,
) -> Feed:
    """Return the feed of a run.

    Args:
        data: The data set.
        config: The run's settings.
        device: The device for the inputs.
        group: The processes that share the data.
        inputs: Statistics from an earlier session; None computes them.
        kernels: What makes training views of images in memory in one pass; None: torch's operators.
    """
    train, test, names = data.train, data.test, data.class_names
    if isinstance(train, Images) and isinstance(test, Images):
        images = DataSet(train, test, names, data.unreadable)
        return MemoryFeed(images, config, group, device, inputs, kernels)
    from resnet_repro.data.stream import StreamFeed  # imports torchvision

    assert not isinstance(train, Images)
    assert not isinstance(test, Images)
    return StreamFeed(DataSet(train, test, names), config, group, device, inputs)


def hold_out(data: DataSet[P], num_validation: int) -> DataSet[P]:
    """Take images out of the training set and test on them instead of the test set.

    Every seed gets the same split, as in [He15] Sec. 4.2 (45k/5k).
    """
    num_images = len(data.train)
    if num_validation >= num_images:
        raise UserError(
            f"data.num_validation={num_validation} of {num_images} training images leaves none to "
            f"train on"
        )
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(0))
    held_out, kept = order[:num_validation].sort().values, order[num_validation:].sort().values
    train, test = data.train[kept], data.train[held_out]
    return DataSet(train, test, data.class_names, data.unreadable)


__all__ = [
    "AnyData",
    "DataSet",
    "Feed",
    "Images",
    "Inputs",
    "hold_out",
    "load_data",
    "make_feed",
]
