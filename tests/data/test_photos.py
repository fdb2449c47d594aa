"""Views of photographs are torchvision's, in training and in a test."""

import errno
import os
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import load_data
from resnet_repro.data.photos import evaluation_views, random_view, read
from resnet_repro.errors import UserError
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig
from tests.support.paths import DATA
from tests.support.photos import SCALE, feed_of, picture

AREA = PhotoConfig(area=[0.08, 1.0], interpolation="bicubic", jitter=0.4)


@pytest.mark.parametrize("kind", ["scale", "area"])
def test_a_view_is_what_torchvision_takes_of_a_pillow_image(kind):
    """The same draws, through Pillow: to a fraction of a grey level."""
    photo = SCALE if kind == "scale" else replace(AREA, jitter=0.0)
    differences = []
    for seed in range(40):
        image = picture(60 + 3 * seed, 90, seed)
        draw = random.Random(seed)
        if kind == "scale":
            resized = v2.Resize(draw.randint(48, 80))(image)
            width, height = resized.size
            top, left = draw.randint(0, height - 32), draw.randint(0, width - 32)
            expected = tv.crop(resized, top, left, 32, 32)
        else:
            width, height = image.size
            for _ in range(10):
                area = width * height * draw.uniform(0.08, 1.0)
                aspect = np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3)))
                w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
                if w <= width and h <= height:
                    break
            else:
                w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
                continue  # the fallback has a test of its own
            top, left = draw.randint(0, height - h), draw.randint(0, width - w)
            expected = tv.resized_crop(
                image, top, left, h, w, [32, 32], v2.InterpolationMode.BICUBIC
            )
        if draw.random() < 0.5:
            expected = tv.hflip(expected)
        ours = random_view(tv.pil_to_tensor(image), photo, 32, True, random.Random(seed))
        differences.append((ours.int() - tv.pil_to_tensor(expected).int()).abs().float())
    assert torch.stack(differences).mean() < 0.25
    assert torch.stack(differences).max() <= 4


def test_a_crop_that_fits_nowhere_becomes_the_largest_centre():
    photo = PhotoConfig(area=[1.0, 1.0], aspect=[1.0, 1.0])
    image = tv.pil_to_tensor(picture(90, 30))
    view = random_view(image, photo, 30, False, random.Random(0))
    assert torch.equal(view, image[:, :, 30:60])


def test_every_offset_comes_and_half_the_views_are_mirrored():
    photo = PhotoConfig(scale=[8, 8])
    image = torch.arange(12, dtype=torch.uint8).expand(3, 8, 12).contiguous()
    seen = [random_view(image, photo, 8, True, random.Random(s))[0, 0] for s in range(600)]
    mirrored = sum(int(row[0] > row[1]) for row in seen)
    assert 240 < mirrored < 360
    assert {int(row.min()) for row in seen} == set(range(5))


@pytest.mark.parametrize("size", [(97, 64), (64, 120), (50, 50)])
def test_test_views_are_torchvisions(size):
    image = picture(*size)
    ours = tv.pil_to_tensor(image)
    resized = v2.Resize(40)(image)

    def differ(a, b):
        assert a.shape == b.shape
        assert (a.int() - b.int()).abs().float().mean() < 0.25
        return (a.int() - b.int()).abs().max()  # rounded twice, by rows and by columns

    (one,) = evaluation_views(ours, EvaluationConfig(protocol="one_crop", sizes=[40], crop=32))
    assert differ(one[0], tv.pil_to_tensor(v2.CenterCrop(32)(resized))) <= 2
    bicubic = EvaluationConfig(protocol="one_crop", sizes=[40], crop=32, interpolation="bicubic")
    (one,) = evaluation_views(ours, bicubic)
    cubic = v2.Resize(40, v2.InterpolationMode.BICUBIC)(image)
    assert differ(one[0], tv.pil_to_tensor(v2.CenterCrop(32)(cubic))) <= 3
    (five,) = evaluation_views(ours, EvaluationConfig(protocol="ten_crop", sizes=[40], crop=32))
    ten = [tv.pil_to_tensor(crop) for crop in v2.TenCrop(32)(resized)]
    assert all(
        differ(a, b) <= 2
        for a, b in zip([*five, *five[[1, 0, 3, 2, 4]].flip(-1)], ten, strict=True)
    )
    scales = EvaluationConfig(protocol="multi_scale", sizes=[24, 40, 64])
    for scale, view in zip(scales.sizes, evaluation_views(ours, scales), strict=True):
        assert differ(view[0], tv.pil_to_tensor(v2.Resize(scale)(image))) <= 2


def test_a_damaged_photograph_stops_a_run_or_is_counted(settings, tmp_path):
    damaged = tmp_path / "set" / "train" / "n00000001" / "3.JPEG"
    damaged.write_bytes(b"<html>404</html>")
    for workers in (0, 1):
        compute = replace(settings.compute, workers=workers)
        with pytest.raises(UserError, match=r"3\.JPEG cannot be read .*\nFix or remove"):
            list(feed_of(replace(settings, compute=compute)).train(0, 5))
    skipping = replace(settings, data=replace(settings.data, skip_unreadable=True))
    feed = feed_of(skipping)
    batches = list(feed.train(0, 5))
    assert [len(labels) for _, labels in batches] == [16] * 5
    assert len(feed.unreadable) == 1


def test_a_disk_that_fails_damages_no_photograph(settings, monkeypatch):
    """Also where unreadable ones are skipped: other photographs would be trained on."""
    read = Path.read_bytes

    def failing(path):
        if path.name == "3.JPEG":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    data = replace(settings.data, skip_unreadable=True)
    for workers in (0, 1):
        compute = replace(settings.compute, workers=workers)
        with pytest.raises(UserError) as raised:
            list(feed_of(replace(settings, data=data, compute=compute)).train(0, 5))
        assert re.fullmatch(r"\S+/3\.JPEG cannot be read now \(Input/output error\): run the same "
                            r"command again when it can be", str(raised.value))  # fmt: skip


def test_real_photographs_are_read(settings):
    root = DATA / "imagenette-mini"
    if not root.is_dir():
        pytest.skip(f"no imagenette-mini in {DATA}; RESNET_REPRO_DATA says where it is")
    data = load_data(replace(settings.data, root=str(root), num_classes=10))
    assert (len(data.train), len(data.test), len(data.class_names)) == (600, 200, 10)
    for index in range(0, 600, 60):
        path = data.train.path(index)
        expected = tv.pil_to_tensor(Image.open(path).convert("RGB"))
        assert (read(data.train, index).int() - expected.int()).abs().max() <= 2
        assert data.class_names[data.train.labels[index]] == path.parent.name
