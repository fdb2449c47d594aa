"""Data against the official files, torchvision's transforms and slow obvious versions."""

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import tarfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from conftest import SMALL, changed
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import hold_out, load_data
from resnet_repro.data.images import crop_and_flip
from resnet_repro.data.inputs import Sums
from resnet_repro.data.order import BatchOrder
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig

CPU = torch.device("cpu")


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


def test_every_view_is_torchvisions_pad_crop_and_flip():
    torch.manual_seed(0)
    padding, size = 4, 9
    views = torch.arange(2 * size**2)
    images = torch.randn(1, 3, 32, 32).expand(len(views), -1, -1, -1)
    ours = crop_and_flip(images, views, padding)
    for view in views.tolist():
        top, left = divmod(view % size**2, size)
        expected = tv.crop(tv.pad(images[0], [padding]), top, left, 32, 32)
        expected = tv.hflip(expected) if view >= size**2 else expected
        assert torch.equal(ours[view], expected), view


def test_all_81_offsets_and_both_directions_are_equally_likely():
    batches = order(5000, 500)
    views = torch.cat([batches[i][1] for i in range(100)])  # ten epochs
    counts = torch.bincount(views, minlength=162)
    assert len(counts) == 162
    expected = len(views) / 162
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert (
        chi_square < 232
    )  # 161 degrees of freedom: above it once in 5000 draws; the seed is fixed


def test_an_epoch_shows_every_image_once_and_batches_run_across_its_end():
    batches = order(10, 4)
    row = torch.cat([batches[i][0] for i in range(5)])  # 20 images: two epochs
    assert row[:10].sort().values.tolist() == row[10:].sort().values.tolist() == list(range(10))
    assert row[:10].tolist() != row[10:].tolist()


def test_a_batch_depends_on_seed_and_iteration_alone():
    one_after_the_other = order(50, 16)
    seen = [one_after_the_other[i] for i in range(12)]
    at_once = order(50, 16)[11]
    assert all(torch.equal(a, b) for a, b in zip(seen[11], at_once, strict=True))
    assert not torch.equal(order(50, 16, seed=1)[11][0], at_once[0])


def test_a_batch_may_be_larger_than_the_set():
    counts = Counter(order(3, 8)[0][0].tolist())
    assert sorted(counts.values()) == [2, 3, 3]


def test_the_mean_is_per_pixel_and_the_input_has_mean_zero():
    pixels = torch.randint(256, (5000, 3, 4, 4), dtype=torch.uint8)
    inputs = inputs_of(pixels)
    torch.testing.assert_close(inputs.mean, (pixels.double() / 255).mean(dim=0).float())
    assert inputs.normalise(pixels).mean(dim=0).abs().max() < 1e-6


def test_channels_have_mean_0_and_std_1_and_components_are_the_covariances():
    torch.manual_seed(0)
    grey = torch.randint(256, (300, 1, 8, 8))
    pixels = (0.7 * grey + 0.3 * torch.randint(256, (300, 3, 8, 8))).to(torch.uint8)
    inputs = inputs_of(pixels, "channels", pca=True)
    shown = inputs.normalise(pixels).transpose(0, 1).flatten(1)
    torch.testing.assert_close(shown.mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(shown.std(dim=1), torch.ones(3), atol=1e-4, rtol=0)
    covariance = torch.cov(pixels.double().div(255).transpose(0, 1).flatten(1)).float()
    variances = inputs.components.norm(dim=0)  # each column: a direction times its variance
    directions = inputs.components / variances
    torch.testing.assert_close(
        directions @ variances.diag() @ directions.T, covariance, atol=1e-5, rtol=1e-3
    )


def test_the_mean_image_is_resized_with_the_test_image():
    inputs = inputs_of(torch.full((4, 3, 8, 8), 51, dtype=torch.uint8))
    shown = inputs.normalise(torch.full((2, 3, 20, 12), 255, dtype=torch.uint8))
    torch.testing.assert_close(shown, torch.full((2, 3, 20, 12), 0.8))


def test_cifar10_is_what_the_official_files_hold(cifar10):
    data = load_data(cifar(root=str(cifar10)))
    assert data.train.pixels.shape == (50000, 3, 32, 32)
    assert data.train.pixels.dtype == torch.uint8
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.class_names[0] == "airplane"
    theirs = CIFAR10(cifar10, train=False)
    image, label = theirs[7]
    assert torch.equal(data.test.pixels[7], tv.pil_to_tensor(image))
    assert data.test.labels[7] == label
    # The per-pixel mean, averaged over the image, is the channel mean that everybody knows.
    mean = inputs_of(data.train.pixels).mean.mean(dim=(1, 2))
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=1e-4, rtol=0)


def test_the_45k_5k_split_is_disjoint_and_always_the_same(cifar10):
    whole = load_data(cifar(root=str(cifar10)))
    split = load_data(cifar(root=str(cifar10), num_validation=5000))
    assert (len(split.train), len(split.test)) == (45000, 5000)
    assert split.checksum() == hold_out(whole, 5000).checksum()
    both = torch.cat([split.train.pixels, split.test.pixels])

    def sums(pixels):  # by which images are told apart, of a part of their pixels
        some = pixels.view(50000, -1)[:, ::29].long()
        return (some @ torch.arange(1, some.shape[1] + 1)).sort().values

    assert torch.equal(sums(both), sums(whole.train.pixels))


def test_a_damaged_cifar10_file_is_named(cifar10, tmp_path):
    shutil.copytree(cifar10 / "cifar-10-batches-py", tmp_path / "cifar-10-batches-py")
    damaged = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(damaged.read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(UserError, match=r"data_batch_3 is damaged.*\nDelete"):
        load_data(cifar(root=str(tmp_path)))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_data_that_cannot_be_fetched_says_what_to_do(name, tmp_path, monkeypatch):
    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    monkeypatch.setattr(kind, "url", "http://127.0.0.1:9/cifar.tar.gz")  # nobody listens there
    with pytest.raises(UserError, match=rf"could not be fetched .*\nPut {kind.filename}"):
        load_data(cifar(name, root=str(tmp_path)))
    with pytest.raises(UserError, match=r"data\.download=false"):
        load_data(cifar(name, root=str(tmp_path), download=False))


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


def test_cifar100_in_the_official_layout(tmp_path, monkeypatch):
    contents = make_cifar100(tmp_path, monkeypatch)
    data = load_data(cifar("cifar100", root=str(tmp_path)))
    assert data.train.labels.tolist() == list(range(100)) * 2
    first = torch.from_numpy(contents["test"]["data"][0]).view(3, 32, 32)
    assert torch.equal(data.test.pixels[0], first)


def pack_cifar100(root, monkeypatch):
    """Return the archive of such a set, official as far as its MD5 goes."""
    make_cifar100(root, monkeypatch)
    archive = root / CIFAR100.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / CIFAR100.base_folder, CIFAR100.base_folder)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "tgz_md5", md5)
    return archive


def test_missing_data_is_fetched_and_a_wrong_archive_is_not_taken(tmp_path, monkeypatch):
    archive = pack_cifar100(tmp_path / "served", monkeypatch)
    handler = partial(SimpleHTTPRequestHandler, directory=archive.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        monkeypatch.setattr(CIFAR100, "url", url)
        with monkeypatch.context() as patch:
            patch.setattr(CIFAR100, "tgz_md5", "0" * 32)
            with pytest.raises(UserError, match="could not be fetched"):
                load_data(cifar("cifar100", root=str(tmp_path / "wrong")))
        for root in ("new", "wrong"):  # where a wrong archive lies by now, it is fetched again
            data = load_data(cifar("cifar100", root=str(tmp_path / root)))
            assert len(data.train) == 200
        server.shutdown()


def test_processes_that_begin_together_fetch_once(tmp_path, monkeypatch):
    """One fetches, slowly; the others wait for it, and take nothing half written for damaged."""
    archive = pack_cifar100(tmp_path / "served", monkeypatch)
    fetched = []

    def slowly(_, root, filename, __):
        fetched.append(root)
        content = archive.read_bytes()
        (root / filename).write_bytes(content[:100])
        time.sleep(0.5)
        (root / filename).write_bytes(content)

    monkeypatch.setattr("resnet_repro.data.cifar.download_url", slowly)
    config = cifar("cifar100", root=str(tmp_path / "new"))
    with ThreadPoolExecutor(3) as pool:
        sets = list(pool.map(load_data, [config] * 3))
    assert [len(data.train) for data in sets] == [200] * 3
    assert len(fetched) == 1


def test_an_archive_that_lies_there_is_unpacked_without_a_network(tmp_path, monkeypatch, run_cli):
    """With data.download=false nothing is fetched, whatever lies there in place of the archive."""
    whole = pack_cifar100(tmp_path / "served", monkeypatch).read_bytes()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("a network"))
    config = cifar("cifar100", root=str(tmp_path / "x"), download=False)
    archive = tmp_path / "x" / CIFAR100.filename
    archive.parent.mkdir()
    damaged = f"{archive} is damaged: its MD5 is not the official one's"
    for content in (b"", b"<html>404</html>", whole[: len(whole) // 2], b"noise" * 99):
        archive.write_bytes(content)
        with pytest.raises(UserError, match=re.escape(damaged)):
            load_data(config)
    outcome = run_cli("experiment=preact_best", "row=ResNet-164 CIFAR-100", "seeds=[0]",
                      f"data.root={tmp_path / 'x'}", "data.download=false")  # fmt: skip
    assert outcome.code == 1
    assert damaged in outcome.err
    assert f"data.download=false.\nDelete {archive}. Put {CIFAR100.filename}" in outcome.err
    archive.write_bytes(whole)

    def full(self, *_, **__):
        (archive.parent / CIFAR100.base_folder).mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extractall", full)
        with pytest.raises(UserError, match=r"gz cannot be unpacked into .*x: No space left"):
            load_data(config)
    assert len(load_data(config).train) == 200  # and no half of it is taken for damaged


@pytest.mark.parametrize("where", ["a word", "a file", "the environment"])
def test_a_tilde_is_the_home_folder(where, tmp_path, monkeypatch, run_cli):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    words = ["experiment=cifar_depth", "row=ResNet-20", "data.download=false"]
    if where == "a word":
        words.append("data.root=~/my data")
    elif where == "a file":
        (tmp_path / "mine" / "local").mkdir(parents=True)
        text = "# @package _global_\ndata: {root: ~/my data}\n"
        (tmp_path / "mine" / "local" / "default.yaml").write_text(text)
        words = ["--config-dir", str(tmp_path / "mine"), *words, "local=default"]
    else:
        monkeypatch.setenv("RESNET_REPRO_DATA", "~/my data")
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert f"there is no CIFAR-10 in {tmp_path}/home/my data, and" in outcome.err
    assert not (tmp_path / "~").exists()


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
    assert "left out: pets/train/dog/one.png cannot be read" in done.err
    assert "1 photograph could not be read and was left out" in done.out
    (record,) = (tmp_path / "results" / "runs").glob("*/record.jsonl")
    assert json.loads(record.read_text().splitlines()[-1])["num_unreadable"] == 1


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    with pytest.raises(UserError, match=r"train.*\n.*data.root=ROOT"):
        load_data(folder(tmp_path))
    make_folder(tmp_path)
    with pytest.raises(UserError, match=r"has 2 classes: data\.num_classes=2"):
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
    with pytest.raises(UserError, match=r"no images \(.*\.jpg .*\) in bird\nEach class needs some"):
        load_data(config)
    for path in ("cat", "dog", "bird"):
        shutil.rmtree(tmp_path / "train" / path)
    with pytest.raises(UserError, match=r"train has no class folders: put images into .*/CLASS/"):
        load_data(config)
    (tmp_path / "train").rmdir()
    (tmp_path / "train").write_text("no folder")
    with pytest.raises(UserError, match=r"there is no folder .*train"):
        load_data(config)


def test_settings_that_are_not_the_datas_are_refused(config):
    wrong = replace(config.data, num_classes=12)
    with pytest.raises(UserError, match=r"synthetic has 10 classes: data\.num_classes=10"):
        load_data(wrong)
    with pytest.raises(UserError, match=r"data\.generate is the size of the synthetic set"):
        load_data(replace(config.data, name="cifar10"))


def test_cifar10_has_32_pixels(cifar10):
    with pytest.raises(UserError, match=r"32 x 32 pixels: data\.image_size=32"):
        load_data(replace(cifar(root=str(cifar10)), image_size=64))


def test_too_many_held_out_images_are_refused(config):
    with pytest.raises(UserError, match="num_validation=60 of 60"):
        load_data(changed(config, data={"num_validation": 60}).data)
