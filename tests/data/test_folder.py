"""Images in class folders."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnet_repro.data import load_data
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig
from tests.support.runs import SMALL


def make_folder(root, classes=("cat", "dog"), parts=("train", "val")):
    for part in parts:
        for number, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            image = np.full((20, 30, 3), 100 * number, dtype=np.uint8)
            Image.fromarray(image).save(root / part / name / "one.png")
            Image.fromarray(image[:, :, 0]).save(root / part / name / "gray.png")


def folder(root, num_classes=2) -> DataConfig:
    return DataConfig(
        name="folder", title="pets", root=str(root), image_size=16, num_classes=num_classes
    )


def test_a_folder_of_class_folders(tmp_path):
    make_folder(tmp_path)
    data = load_data(folder(tmp_path))
    assert data.class_names == ("cat", "dog")
    assert data.train.pixels.shape == (4, 3, 16, 16)
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    assert set(data.test.pixels[2:].flatten().tolist()) == {100}


JUNK = (".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", ".git")


def strew(root):
    """Write what file managers, notebooks and network disks leave behind."""
    for part in ("train", "val"):
        for folder in (root / part, root / part / "cat"):
            for name in JUNK:
                (folder / name).mkdir()
                shutil.copy(root / part / "cat" / "one.png", folder / name / "one-checkpoint.png")
            for name in ("._one.png", ".DS_Store", "Thumbs.db", "desktop.ini", "README.txt"):
                (folder / name).write_bytes(b"no image")


def test_hidden_and_system_folders_are_no_classes_and_hold_no_images(tmp_path):
    make_folder(tmp_path)
    before = load_data(folder(tmp_path))
    strew(tmp_path)
    assert load_data(folder(tmp_path)).checksum() == before.checksum()
    photos = load_data(replace(folder(tmp_path), name="imagenet"))
    assert photos.class_names == ("cat", "dog")
    assert photos.train.names.tolist() == [
        *(b"cat/gray.png", b"cat/one.png"),
        *(b"dog/gray.png", b"dog/one.png"),
    ]


def test_images_of_a_folder_may_be_left_out_and_are_counted(tmp_path, run_cli):
    make_folder(tmp_path / "pets")
    strew(tmp_path / "pets")
    broken = tmp_path / "pets" / "train" / "dog" / "one.png"
    broken.write_bytes(b"no image")
    words = [*(word for word in SMALL if not word.startswith("data.")), "data=folder",
             "data.root=pets", "data.title=pets", "data.num_classes=2", "recipe.batch_size=2",
             "recipe.bn_batch=2"]  # fmt: skip
    stopped = run_cli(*words)
    assert stopped.code == 1
    assert "one.png cannot be read as an image: unknown format\nFix or remove the f" in stopped.err
    done = run_cli(*words, "data.skip_unreadable=true")
    assert done.code == 0, done.err
    assert "skipped: pets/train/dog/one.png cannot be read" in done.err
    assert "Unreadable images that were skipped: 1." in done.out
    (record,) = (tmp_path / "results" / "runs").glob("*/record.jsonl")
    assert json.loads(record.read_text().splitlines()[-1])["num_unreadable"] == 1


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    with pytest.raises(UserError, match=r"train.*\n.*data.root=ROOT"):
        load_data(folder(tmp_path))
    make_folder(tmp_path)
    with pytest.raises(UserError, match=r"has 2 classes: set data\.num_classes=2"):
        load_data(folder(tmp_path, num_classes=3))
    (tmp_path / "val" / "dog" / "one.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"one.png cannot be read"):
        load_data(folder(tmp_path))
    (tmp_path / "val" / "dog" / "one.png").unlink()
    os.mkfifo(tmp_path / "val" / "dog" / "one.png")
    with pytest.raises(UserError, match=r"one.png cannot be read as an image: there is no such fi"):
        load_data(folder(tmp_path))


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_classes_without_images_and_classes_of_one_part_are_named(name, tmp_path):
    make_folder(tmp_path)
    config = replace(folder(tmp_path), name=name)
    (tmp_path / "val" / "bird").mkdir()
    with pytest.raises(UserError, match=r"differ in classes: bird \(only in val\)"):
        load_data(config)
    (tmp_path / "train" / "bird").mkdir()
    (tmp_path / "train" / "bird" / "README.txt").write_text("no image")
    with pytest.raises(
        UserError, match=r"no images \(.*\.jpg .*\) in bird\nEach class needs images"
    ):
        load_data(config)
    for path in ("cat", "dog", "bird"):
        shutil.rmtree(tmp_path / "train" / path)
    with pytest.raises(UserError, match=r"train has no class folders: put images into .*/CLASS/"):
        load_data(config)
    (tmp_path / "train").rmdir()
    (tmp_path / "train").write_text("no folder")
    with pytest.raises(UserError, match=r"there is no folder .*train"):
        load_data(config)
