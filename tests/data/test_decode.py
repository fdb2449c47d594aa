"""Files of photographs: odd ones are read as Pillow reads them, damaged ones are named."""

import importlib.util
import io
import os
import struct
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, features
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import decode as decoder
from resnet_repro.data import load_data
from resnet_repro.data.decode import UnreadableImage, decode, read_image
from resnet_repro.data.photos import Photos, read
from tests.support.photos import jpeg, picture


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
