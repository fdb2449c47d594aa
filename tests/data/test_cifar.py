"""CIFAR-10 and CIFAR-100 from their official files."""

import shutil
from dataclasses import replace

import pytest
import torch
from torchvision.datasets import CIFAR10
from torchvision.transforms.functional import to_pil_image
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import load_data
from resnet_repro.errors import UserError
from tests.support.runs import changed
from tests.support.sets import cifar, inputs_of, make_cifar100


@pytest.fixture(scope="module")
def whole(cifar10):
    return load_data(cifar(root=str(cifar10)))


def test_cifar10_is_what_the_official_files_hold(cifar10, whole):
    data = whole
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


def test_the_45k_5k_split_is_disjoint_and_always_the_same(cifar10, whole):
    split = load_data(cifar(root=str(cifar10), num_validation=5000))
    assert (len(split.train), len(split.test)) == (45000, 5000)
    assert split.checksum() == "e7e3590481bec4a3"
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


def test_cifar100_in_the_official_layout(tmp_path, monkeypatch):
    contents = make_cifar100(tmp_path, monkeypatch)
    data = load_data(cifar("cifar100", root=str(tmp_path)))
    assert data.train.labels.tolist() == list(range(100)) * 2
    first = torch.from_numpy(contents["test"]["data"][0]).view(3, 32, 32)
    assert torch.equal(data.test.pixels[0], first)


def test_cifar_has_32_pixels(tmp_path, monkeypatch):
    make_cifar100(tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"32 x 32 pixels: set data\.image_size=32"):
        load_data(replace(cifar("cifar100", root=str(tmp_path)), image_size=64))


def test_too_many_held_out_images_are_refused(config):
    with pytest.raises(UserError, match="num_validation=60 of 60"):
        load_data(changed(config, data={"num_validation": 60}).data)


def test_damaged_data_is_named(run_cli, tmp_path):
    folder = tmp_path / "data/cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_2").write_bytes(b"not what it should be")
    outcome = run_cli("experiment=cifar_depth", "row=ResNet-20", f"data.root={tmp_path}/data")
    assert outcome.code == 1
    assert "data_batch_2 is damaged" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 2


@pytest.mark.parametrize("source", ["official", "folder"])
def test_cifar_100_rows_train_on_both_layouts(run_cli, tmp_path, monkeypatch, source):
    """The official files, and the same images in class folders."""
    make_cifar100(tmp_path / "data", monkeypatch)
    words = ["experiment=preact_depth", "row=ResNet-164 pre-activation CIFAR-100", "seeds=[0]"]
    words += ["model.depth=11", "recipe.iterations=2", "recipe.batch_size=16", "recipe.bn_batch=8"]
    words += ["recipe.lr_drops=[]", "compute.device=cpu", "data.root=data"]
    if source == "folder":
        generator = torch.Generator().manual_seed(0)
        for part, number in (("train", 2), ("val", 1)):
            for label in range(100):
                folder = tmp_path / "data" / part / f"class{label:02}"
                folder.mkdir(parents=True)
                for image in range(number):
                    pixels = torch.randint(256, (3, 32, 32), generator=generator).byte()
                    to_pil_image(pixels).save(folder / f"{image}.png")
        words += ["data.name=folder"]
    outcome = run_cli(*words)
    assert outcome.code == 0, outcome.err
    assert "after 2 of 64000 iterations" in outcome.out
    assert "CIFAR-100 test images" in outcome.out
