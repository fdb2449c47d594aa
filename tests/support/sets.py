"""Small data sets, and what reads them."""

import hashlib
import pickle

import numpy as np
from torchvision.datasets import CIFAR100

from resnet_repro.data.inputs import Sums
from resnet_repro.data.order import BatchOrder
from resnet_repro.settings.data import DataConfig
from tests.support.training import CPU


def cifar(name="cifar10", **fields) -> DataConfig:
    classes = 100 if name == "cifar100" else 10
    title = name.upper().replace("R1", "R-1")
    return DataConfig(name=name, title=title, image_size=32, num_classes=classes, **fields)


def order(num_images, batch_size, *, seed=0) -> BatchOrder:
    return BatchOrder(num_images, batch_size, num_views=2 * 81, seed=seed, device=CPU)


def inputs_of(pixels, kind="pixel_mean", *, pca=False):
    sums = Sums(pixels.shape[-1], colours=True)
    sums.add(pixels.split(100))
    return sums.inputs(kind, pca=pca)


def make_cifar100(root, monkeypatch):
    """Write the official layout with pixels of our own: the real files are not to be had here."""
    folder = root / CIFAR100.base_folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    contents = {
        "train": {"fine_labels": list(range(100)) * 2},
        "test": {"fine_labels": list(range(100))},
        "meta": {"fine_label_names": [f"class {i}" for i in range(100)]},
    }
    for name in ("train", "test"):
        shape = (len(contents[name]["fine_labels"]), 3072)
        contents[name]["data"] = generator.integers(0, 256, shape, dtype=np.uint8)
    md5 = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5["meta"]})
    return contents
