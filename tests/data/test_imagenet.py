"""ImageNet's folders: whole, with the flat validation set, or named as wrong."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from resnet_repro.data import load_data
from resnet_repro.data.photos import read
from resnet_repro.errors import UserError


def test_what_is_called_imagenet_is_all_of_it(settings):
    """A part of it with all classes would be set beside the papers' numbers."""
    with pytest.raises(UserError, match=r"ImageNet 1,281,167 and 50,000: (.|\n)*data\.title=NAME"):
        load_data(replace(settings.data, title="ImageNet"))


def test_the_official_flat_validation_set_is_read_with_its_kit(settings, tmp_path):
    root = tmp_path / "set"
    expected = load_data(settings.data).test
    expected_images = {
        read(expected, i).numpy().tobytes(): int(expected.labels[i]) for i in range(12)
    }
    flat = sorted((root / "val").glob("*/*.JPEG"), key=lambda path: (path.name, path.parent.name))
    truth = []
    for number, path in enumerate(flat):
        path.rename(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
        truth.append({"n00000000": 3, "n00000001": 1, "n00000002": 2}[path.parent.name])
    for folder in {path.parent for path in flat}:
        folder.rmdir()
    with pytest.raises(UserError, match=r"unpack ILSVRC2012_devkit_t12\.tar\.gz"):
        load_data(settings.data)
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    numbers = kit / "ILSVRC2012_validation_ground_truth.txt"
    numbers.write_text("1\ntwo\n")
    with pytest.raises(UserError, match=r"ground_truth\.txt must have a number for each photograp"):
        load_data(settings.data)
    numbers.write_text("\n".join(map(str, truth)))
    synsets = np.array(
        [(3, "n00000000"), (1, "n00000001"), (2, "n00000002"), (9, "n99999999")],
        dtype=[("ILSVRC2012_ID", object), ("WNID", object)],
    )
    savemat(kit / "meta.mat", {"synsets": synsets})
    found = load_data(settings.data).test
    assert len(found) == len(expected) == 12
    images = {read(found, i).numpy().tobytes(): int(found.labels[i]) for i in range(12)}
    assert images == expected_images


def test_missing_folders_and_differing_classes_are_named(settings, tmp_path):
    (tmp_path / "set" / "val" / "n00000002").rename(tmp_path / "set" / "val" / "n00000009")
    with pytest.raises(UserError, match=r"n00000002 \(only in train\), n00000009 \(only in val\)"):
        load_data(settings.data)
    with pytest.raises(
        UserError, match=r"no folder .*nowhere.train, and downloading needs a login"
    ):
        load_data(replace(settings.data, root=str(tmp_path / "nowhere")))
