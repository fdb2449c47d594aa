"""Photographs: views against torchvision's transforms, one image at a time; odd files."""

import importlib.util
import io
import multiprocessing
import os
import random
import struct
import sys
import time
import warnings
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from conftest import DATA, PATIENCE
from PIL import Image, features
from scipy.io import savemat
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import decode as decoder
from resnet_repro.data import load_data, make_feed
from resnet_repro.data.colour import draw_colour, jitter, pca_shift, recolour
from resnet_repro.data.decode import UnreadableImage, decode, read_image
from resnet_repro.data.photos import Photos, random_view, read, test_views
from resnet_repro.distributed.group import Group
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig

test_views.__test__ = False
CPU = torch.device("cpu")
SCALE = PhotoConfig(scale=[48, 80], pca=0.1)
AREA = PhotoConfig(area=[0.08, 1.0], interpolation="bicubic", jitter=0.4)


def picture(width, height, seed=0):
    """Return a smooth random picture, as a photograph is."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def write_set(root, num_classes=3, num_train=8, num_test=4):
    for part, number in (("train", num_train), ("val", num_test)):
        for label in range(num_classes):
            folder = root / part / f"n{label:08d}"
            folder.mkdir(parents=True)
            for i in range(number):
                size = (60 + 7 * i, 50 + 5 * label)
                content = jpeg(picture(*size, seed=100 * label + i + 1000 * (part == "val")))
                (folder / f"{i}.JPEG").write_bytes(content)


@pytest.fixture
def settings(config, tmp_path):
    """Return the settings of a small run on photographs."""
    write_set(tmp_path / "set")
    return replace(
        config,
        model=replace(config.model, num_classes=3),
        data=DataConfig(
            name="imagenet", title="x", root=str(tmp_path / "set"), image_size=32, num_classes=3
        ),
        recipe=replace(config.recipe, crop_padding=0, photo=SCALE),
        evaluation=EvaluationConfig(protocol="one_crop", sizes=[40], crop=32, every=3),
        compute=replace(config.compute, workers=0),
    )


def test_what_is_called_imagenet_is_all_of_it(settings):
    """A part of it with all classes would be set beside the papers' numbers."""
    with pytest.raises(UserError, match=r"ImageNet 1,281,167 and 50,000: (.|\n)*data\.title=NAME"):
        load_data(replace(settings.data, title="ImageNet"))


def feed_of(settings, **options):
    return make_feed(load_data(settings.data), settings, CPU, **options)


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

    (one,) = test_views(ours, EvaluationConfig(protocol="one_crop", sizes=[40], crop=32))
    assert differ(one[0], tv.pil_to_tensor(v2.CenterCrop(32)(resized))) <= 2
    bicubic = EvaluationConfig(protocol="one_crop", sizes=[40], crop=32, interpolation="bicubic")
    (one,) = test_views(ours, bicubic)
    cubic = v2.Resize(40, v2.InterpolationMode.BICUBIC)(image)
    assert differ(one[0], tv.pil_to_tensor(v2.CenterCrop(32)(cubic))) <= 3
    (five,) = test_views(ours, EvaluationConfig(protocol="ten_crop", sizes=[40], crop=32))
    ten = [tv.pil_to_tensor(crop) for crop in v2.TenCrop(32)(resized)]
    assert all(
        differ(a, b) <= 2
        for a, b in zip([*five, *five[[1, 0, 3, 2, 4]].flip(-1)], ten, strict=True)
    )
    scales = EvaluationConfig(protocol="multi_scale", sizes=[24, 40, 64])
    for scale, view in zip(scales.sizes, test_views(ours, scales), strict=True):
        assert differ(view[0], tv.pil_to_tensor(v2.Resize(scale)(image))) <= 2


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def without_torchcodec(monkeypatch):
    """Return the decoder as it is where neither TorchCodec nor torchvision decodes anything."""
    for name in ("torchcodec", "torchcodec.decoders"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("decode_jpeg", "decode_image"):
        monkeypatch.delattr(torchvision.io, name, raising=False)
    spec = importlib.util.spec_from_file_location("bare_decode", decoder.__file__)
    bare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bare)
    assert bare.decode_jpeg is None
    return bare


def ycck(cmyk):
    """Return a CMYK JPEG whose Adobe marker says that its colours are YCCK, as Photoshop's are."""
    marker = cmyk.index(b"Adobe")
    return cmyk[: marker + 11] + b"\x02" + cmyk[marker + 12 :]


@pytest.mark.parametrize("installed", [True, False])
def test_odd_files_are_read_as_pillow_reads_them(installed, monkeypatch):
    """With TorchCodec and without: the same pixels, and no warning of what is to be removed."""
    if installed and decoder.decode_jpeg is None:
        pytest.skip("no TorchCodec")
    ours = decoder if installed else without_torchcodec(monkeypatch)
    colours, exif = picture(41, 30), Image.Exif()
    exif[0x0112] = 6
    rotated = jpeg(colours, exif=exif)
    cmyk = jpeg(colours.convert("CMYK"))
    files = {
        "colour": jpeg(colours),
        "grey": jpeg(colours.convert("L")),
        "progressive": jpeg(colours, progressive=True, subsampling="4:4:4"),
        "not YCbCr": jpeg(colours, keep_rgb=True),
        "inverted CMYK": cmyk,
        "CMYK": cmyk.replace(b"Adobe", b"Other"),
        "YCCK": ycck(cmyk),
        "rotated by EXIF": rotated,
        "rotated, with a byte that fills": rotated[:2] + b"\xff" + rotated[2:],
        "rotated, with a comment first": rotated[:2] + b"\xff\xfe\0\x05Hi!" + rotated[2:],
        "png under a wrong name": saved(colours.convert("P"), "PNG"),
        "two pages": saved(colours, "TIFF", save_all=True, append_images=[colours.rotate(90)]),
        "two frames": saved(colours, "GIF", save_all=True, append_images=[colours.rotate(90)]),
        "colours of TIFF": saved(colours.convert("YCbCr"), "TIFF"),
        "LAB": saved(colours.convert("LAB"), "TIFF"),
        "black and white": saved(colours.convert("1"), "PNG"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, content in files.items():
            expected = tv.pil_to_tensor(Image.open(io.BytesIO(content)).convert("RGB"))
            pixels = ours.decode(content)
            assert (pixels.shape, pixels.dtype) == (expected.shape, torch.uint8), name
            gaps = (pixels.int() - expected.int()).abs().float()
            turbo = features.check_feature("libjpeg_turbo")  # another JPEG library rounds otherwise
            assert gaps.max() == 0 if turbo else gaps.mean() < 1.5, name


def test_plain_pngs_are_read_as_torchvision_reads_them():
    if not hasattr(torchvision.io, "decode_image"):
        pytest.skip("torchvision decodes no more")
    colours = picture(40, 30)
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1"):
        content = saved(colours.convert(mode), "PNG")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is to be removed
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            expected = torchvision.io.decode_image(buffer, torchvision.io.ImageReadMode.RGB)
        assert torch.equal(decode(content), expected), mode


RAMP = np.linspace(0, 65535, 30 * 20).astype(np.uint16).reshape(20, 30)


def tiff_12_bits(values):
    """Pack two values of 12 bits into three bytes; Pillow reads such files and writes none."""
    whole = saved(Image.fromarray(values), "TIFF")
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    start = whole.index(values.tobytes())
    bits = struct.pack("<HHIHH", 258, 3, 1, 16, 0)
    assert bits in whole
    whole = whole.replace(bits, struct.pack("<HHIHH", 258, 3, 1, 12, 0))
    return whole[:start] + packed.tobytes() + whole[start + values.nbytes :]


def test_16_bit_grey_is_scaled_to_8_bits(settings, tmp_path):
    """As 65535 to 255: Pillow's conversion would clip all above 255."""
    grey = Image.fromarray(RAMP)
    big_endian = Image.frombytes("I;16B", grey.size, RAMP.astype(">u2").tobytes())
    as_16 = torch.from_numpy((RAMP / 257).round()).to(torch.uint8).expand(3, -1, -1)
    as_12 = torch.from_numpy((RAMP // 16 * (255 / 4095)).round()).to(torch.uint8).expand(3, -1, -1)
    files = {
        "x.png": (saved(grey, "PNG"), as_16),
        "x.tif": (saved(grey, "TIFF"), as_16),
        "big.tiff": (saved(big_endian, "TIFF"), as_16),
        "x.pgm": (saved(grey, "PPM"), as_16),
        "packed.tif": (tiff_12_bits(RAMP // 16), as_12),
        "inverted.tif": (saved(grey, "TIFF", tiffinfo={262: 0}), 255 - as_16),
    }
    for name, (content, expected) in files.items():
        assert torch.equal(decode(content), expected), name
        for part in ("train", "val"):
            (tmp_path / "set" / part / "n00000000" / name).write_bytes(content)
    expected = files["x.png"][1]
    photos = load_data(settings.data).train
    names = [name for name in photos.names.tolist() if not name.endswith(b".JPEG")]
    assert len(names) == len(files)
    assert torch.equal(read(photos, photos.names.tolist().index(b"n00000000/x.png")), expected)
    small = replace(settings.data, name="folder", image_size=20)
    pixels = load_data(small).train.pixels
    assert any(torch.equal(image, expected[:, :, 5:25]) for image in pixels)


def test_transparent_images_lie_on_white():
    colours = np.zeros((4, 6, 4), dtype=np.uint8)  # black, and the right half is transparent
    colours[:, :3, 3], colours[0, 0] = 255, (200, 100, 50, 51)
    image = Image.fromarray(colours)
    clear = torch.full((3, 4, 3), 255, dtype=torch.uint8)
    palette = Image.fromarray(np.tile(np.array([0, 0, 0, 1, 1, 1], dtype=np.uint8), (4, 1)), "P")
    palette.putpalette([0, 0, 0, 9, 9, 9])
    keyed = Image.fromarray(np.where(colours[..., 3:] > 0, 0, 7).astype(np.uint8).repeat(3, 2))
    for name, content in {
        "RGBA": saved(image, "PNG"),
        "LA": saved(image.convert("LA"), "PNG"),
        "palette": saved(palette, "PNG", transparency=1),
        "palette of several": saved(palette, "PNG", transparency=b"\xff\x00"),
        "one colour": saved(keyed, "PNG", transparency=(7, 7, 7)),
        "one grey": saved(keyed.convert("L"), "PNG", transparency=7),
    }.items():
        pixels = decode(content)
        assert torch.equal(pixels[:, :, 3:], clear), name
        assert not pixels[:, 1:, :3].any(), name
    assert decode(saved(image, "PNG"))[:, 0, 0].tolist() == [244, 224, 214]  # a fifth of it


def test_pixels_of_unknown_range_are_refused(tmp_path):
    values = np.arange(600, dtype=np.int32).reshape(20, 30)
    for name, image in {
        "i.tif": Image.fromarray(values),
        "f.tif": Image.fromarray(values.astype(np.float32)),
    }.items():
        image.save(tmp_path / name)
        with pytest.raises(UnreadableImage, match=f"{name} cannot be .*32-bit .* 8 or 16 bits"):
            read_image(tmp_path / name)


def test_damaged_files_are_named(tmp_path):
    whole = jpeg(picture(200, 150))
    for name, content in {
        "cut.JPEG": whole[: len(whole) // 2],
        "empty.JPEG": b"",
        "text.JPEG": b"<html>404</html>",
    }.items():
        (tmp_path / name).write_bytes(content)
        photos = Photos(tmp_path, np.array([os.fsencode(name)]), np.array([0]))
        with pytest.raises(UnreadableImage, match=f"{name} cannot be read as an image: "):
            read(photos, 0)


def test_jitter_is_a_blend_at_a_time():
    torch.manual_seed(0)
    images = torch.rand(7, 3, 5, 4)
    photo = PhotoConfig(jitter=0.4)
    draws = torch.tensor([draw_colour(random.Random(seed), photo) for seed in range(7)])
    ours = jitter(images, draws[:, :3].long(), draws[:, 3:6])
    for image, numbers, changed_image in zip(images, draws.tolist(), ours, strict=True):
        for kind in numbers[:3]:
            factor = numbers[3 + int(kind)]
            red, green, blue = image
            grey = (0.299 * red + 0.587 * green + 0.114 * blue).expand(3, -1, -1)
            target = [torch.zeros_like(grey), grey.mean().expand_as(grey), grey][int(kind)]
            image = factor * image + (1 - factor) * target
        torch.testing.assert_close(changed_image, image)
    assert len({tuple(numbers[:3]) for numbers in draws.tolist()}) > 2
    assert (draws[:, 3:6] - 1).abs().max() <= 0.4


def test_a_pca_shift_moves_every_pixel_along_the_components():
    components = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [0.5, 0.0, 1.0]])
    shifted = pca_shift(torch.zeros(1, 3, 2, 2), torch.tensor([[0.1, 0.2, 0.3]]), components)
    expected = torch.tensor([0.1 + 0.6, 0.6, 0.05 + 0.3])
    torch.testing.assert_close(shifted[0], expected.view(3, 1, 1).expand(3, 2, 2))
    draws = torch.tensor([draw_colour(random.Random(s), PhotoConfig(pca=0.1)) for s in range(2000)])
    assert draws[:, 6:].std().item() == pytest.approx(0.1, rel=0.05)
    same = torch.rand(2, 3, 4, 4)
    assert recolour(same, draws[:2], PhotoConfig(), None) is same


def test_workers_hand_over_what_one_process_reads(settings):
    """Mini-batches do not depend on who reads them, nor on where training began."""
    alone = list(feed_of(settings).train(0, 5))
    two = replace(settings, compute=replace(settings.compute, workers=2))
    later = list(feed_of(two).train(3, 5))
    for (ours, labels), (theirs, expected) in zip(later, alone[3:], strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(labels, expected)
    assert alone[0][0].shape == (16, 3, 32, 32)


def test_no_worker_is_left_when_reading_is_given_up(settings):
    """Nor when the error keeps hold of everything that read."""
    feed = feed_of(replace(settings, compute=replace(settings.compute, workers=2)))
    try:
        with closing(feed.train(0, 1000)) as batches:
            for _ in batches:
                assert len(multiprocessing.active_children()) == 2
                raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        kept = error  # with its traceback, and so the frames
        deadline = time.monotonic() + PATIENCE
        while multiprocessing.active_children() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not multiprocessing.active_children()
    assert kept


def test_two_processes_see_the_images_of_one(settings):
    whole = feed_of(settings)
    halves = [feed_of(settings, group=Group(rank, 2), inputs=whole.inputs) for rank in (0, 1)]
    for batch, *parts in zip(*(feed.train(0, 4) for feed in (whole, *halves)), strict=True):
        torch.testing.assert_close(torch.cat([images for images, _ in parts]), batch[0])
        assert torch.equal(torch.cat([labels for _, labels in parts]), batch[1])
    positions = [sum(len(p) for p, _ in feed.test(settings.evaluation)) for feed in halves]
    assert positions == [6, 6]
    assert sorted(torch.cat([feed.test_labels for feed in halves]).tolist()) == sorted(
        whole.test_labels.tolist()
    )


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
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(map(str, truth)))
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
    with pytest.raises(UserError, match=r"no folder .*nowhere.train, and it cannot be fetched"):
        load_data(replace(settings.data, root=str(tmp_path / "nowhere")))


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
