"""Photographs that the GPU decodes: the same views as those that workers take."""

import gc
import io
import random
from contextlib import closing
from dataclasses import replace
from weakref import ref

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_repro.data import gpu_decode, load_data, stream
from resnet_repro.data.decode import decode, decode_jpeg
from resnet_repro.data.gpu_decode import decode_all, gpu_decoder, one_ahead, to_source
from resnet_repro.data.jpeg import size_if_standard
from resnet_repro.data.photos import draw_view, take_view
from resnet_repro.engine import environment
from resnet_repro.engine.evaluate import decoded_by
from resnet_repro.engine.execution import choose_execution
from resnet_repro.errors import UserError
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PhotoConfig
from tests.support.photos import SCALE, feed_of, jpeg, picture
from tests.support.runs import changed
from tests.support.training import EAGER, GPU

COLOURS = picture(41, 30)
ROTATED = Image.Exif()
ROTATED[0x0112] = 6
TESTS = (
    EvaluationConfig(protocol="one_crop", sizes=[40], crop=32, batch_size=5),
    EvaluationConfig(protocol="ten_crop", sizes=[40], crop=32, batch_size=40),
    EvaluationConfig(protocol="multi_scale", sizes=[32, 48], flip=True, batch_size=5),
)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def without_jfif(content):
    """Return a JPEG without its JFIF segment, as cameras write them."""
    length = int.from_bytes(content[4:6], "big")
    return content[:2] + content[4 + length :]


USUAL = {
    "colour": jpeg(COLOURS),
    "grey": jpeg(COLOURS.convert("L")),
    "progressive": jpeg(COLOURS, progressive=True),
    "rotated": jpeg(COLOURS, exif=ROTATED),
    "without JFIF": without_jfif(jpeg(COLOURS)),
}
UNUSUAL = {
    "CMYK": jpeg(COLOURS.convert("CMYK")),
    "RGB": jpeg(COLOURS, keep_rgb=True),
    "PNG": png(COLOURS),
}
DAMAGED = {
    "cut": jpeg(COLOURS)[:-9],
    "no pixels": jpeg(COLOURS)[:30],
    "nothing": b"",
    "lossless": jpeg(COLOURS).replace(b"\xff\xc0", b"\xff\xc3"),
    "no size": jpeg(COLOURS).replace(b"\xff\xc0\0\x11\x08\0\x1e", b"\xff\xc0\0\x11\x08\0\0"),
}


def by_cpu(jpegs):
    """Decode on the CPU, in place of the GPU's decoder."""
    return [decode(each.numpy().tobytes()) for each in jpegs]


@pytest.fixture
def of_gpu(settings, tmp_path, monkeypatch):
    """Return the settings of a run whose GPU is this CPU; its photographs are of all kinds."""
    folder = tmp_path / "set/train/n00000001"
    for number, content in enumerate([*USUAL.values(), *UNUSUAL.values()]):
        (folder / f"{number}.JPEG").write_bytes(content)
    for part in ("train", "val"):
        (tmp_path / "set" / part / "n00000000/x.png").write_bytes(UNUSUAL["PNG"])
    monkeypatch.setattr(stream, "gpu_decoder", lambda device: by_cpu)
    return changed(settings, compute={"decode": "cuda"})


def same_as_without(settings):
    """Check that a feed gives what that of the CPU gives, to the last bit; return it."""
    plain = changed(settings, compute={"decode": "cpu", "workers": 0})
    feeds = [feed_of(each) for each in (settings, plain)]
    ours, theirs = (list(feed.train(0, 6)) for feed in feeds)
    for evaluation in TESTS:
        for mine, its in zip(*(list(feed.test(evaluation)) for feed in feeds), strict=True):
            ours.append(mine)
            theirs.append(its)
    assert len(ours) == len(theirs) > 12
    for mine, its in zip(ours, theirs, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(mine, its, strict=True))
    assert feeds[0].unreadable == feeds[1].unreadable
    return feeds[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_views_are_those_of_the_cpu(of_gpu, workers, monkeypatch):
    """In training and in tests, of files of all kinds; three photographs are decoded at once."""
    monkeypatch.setattr(gpu_decode, "TOGETHER", 3)
    same_as_without(changed(of_gpu, compute={"workers": workers}))


@pytest.mark.parametrize("kind", [SCALE, PhotoConfig(area=[0.08, 1.0], jitter=0.4), PhotoConfig()])
def test_every_kind_of_view_is_drawn_from_the_size_alone(of_gpu, kind):
    same_as_without(changed(of_gpu, recipe={"photo": kind}))


def test_what_the_gpu_refuses_is_decoded_by_the_cpu(of_gpu, monkeypatch):
    refused = []

    def decoder(jpegs):
        odd = [each for each in jpegs if len(each) % 3 == 0]
        if odd:
            refused.extend(odd)
            raise RuntimeError("nvjpegDecode failed: 4")
        return by_cpu(jpegs)

    monkeypatch.setattr(stream, "gpu_decoder", lambda device: decoder)
    same_as_without(of_gpu)
    assert refused


def test_a_photograph_that_none_can_decode_stops_a_run_or_is_skipped(of_gpu, tmp_path, monkeypatch):
    """Whether a worker finds that, or the GPU whose header is in order and whose pixels are not."""

    whole = jpeg(COLOURS)
    broken = whole[: whole.index(b"\xff\xda")] + b"\xff\xda\0\x03\x01" + b"\xff\xd9"
    assert size_if_standard(broken) == (30, 41)

    def decoder(jpegs):
        if any(len(each) == len(broken) for each in jpegs):
            raise RuntimeError("nvjpegDecode failed: 5")
        return by_cpu(jpegs)

    monkeypatch.setattr(stream, "gpu_decoder", lambda device: decoder)
    for name, content in (("train", broken), ("train", DAMAGED["cut"]), ("val", broken)):
        path = tmp_path / "set" / name / "n00000002/1.JPEG"
        before = path.read_bytes()
        path.write_bytes(content)
        skipping = changed(of_gpu, data={"skip_unreadable": True})
        assert len(same_as_without(skipping).unreadable) == 1
        feed = feed_of(of_gpu, inputs=feed_of(skipping).inputs)
        with pytest.raises(UserError, match=r"n00000002/1\.JPEG cannot be read .*\nFix or remove"):
            list(feed.train(0, 6) if name == "train" else feed.test(of_gpu.evaluation))
        path.write_bytes(before)


def test_jpegs_that_decoders_may_read_differently_are_left_to_the_cpu():
    for name, content in USUAL.items():
        assert size_if_standard(content) == (30, 41), name
        source = to_source(content)
        assert (source.content.dim(), source.height, source.width) == (1, 30, 41), name
    for name, content in UNUSUAL.items():
        assert size_if_standard(content) is None, name
        source = to_source(content)
        assert torch.equal(source.content, decode(content)), name
        assert (source.height, source.width) == (30, 41), name
    for name, content in DAMAGED.items():
        assert size_if_standard(content) is None, name


def test_one_is_made_ahead_in_order_and_errors_arrive():
    made = []

    def work(number):
        if number == 3:
            raise OSError("no more")
        made.append(number)
        return 10 * number

    with closing(one_ahead(iter(range(9)), work, None)) as ahead:
        assert next(ahead) == 0
        assert next(ahead) == 10
    assert made == [0, 1, 2]
    with pytest.raises(OSError, match="no more"):
        list(one_ahead(range(9), work, None))
    assert list(one_ahead([], work, None)) == []


def test_a_photograph_for_which_memory_does_not_suffice_is_not_decoded_otherwise():
    """By the CPU it would have other pixels than those next to it."""

    def full(jpegs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    content = torch.zeros(8, dtype=torch.uint8)
    with pytest.raises(torch.OutOfMemoryError):
        list(decode_all(full, [content] * 3, torch.device("cpu")))


def test_an_error_keeps_nothing_of_what_was_decoded():
    class Made:
        pass

    def fail(made):
        raise OSError("no more")

    made = Made()
    left = ref(made)
    gc.disable()
    try:
        with pytest.raises(OSError, match="no more"):
            list(one_ahead([made], fail, None))
        del made
        assert left() is None
    finally:
        gc.enable()


def test_a_machine_that_cannot_is_named(settings, config, monkeypatch):
    cuda = changed(settings, compute={"decode": "cuda"})
    with pytest.raises(UserError, match=r"decode=cuda needs a CUDA GPU.* set compute\.decode=cpu"):
        choose_execution(cuda)
    assert not choose_execution(changed(config, compute={"decode": "cuda"})).decodes
    with pytest.raises(UserError, match=r"decode=gpu: must be one of cpu, cuda"):
        changed(settings, compute={"decode": "gpu"})

    def without_cuda(*_, **__):
        raise RuntimeError("decode, /x/y.cpp:216, Failed to initialize nvjpeg: 6\nmore")

    for decoder, reason in ((None, "not installed"), (without_cuda, r"\(Failed .* nvjpeg: 6\)")):
        monkeypatch.setattr(gpu_decode, "decode_jpeg", decoder)
        with pytest.raises(UserError, match=rf"{reason}.*set compute\.decode=cpu") as caught:
            gpu_decoder(torch.device("cuda"))
        assert "\n" not in str(caught.value)


def test_records_say_what_decoded_photographs(settings, config):
    name = "pillow" if decode_jpeg is None else "torchcodec"
    for decodes in (False, True):
        session = environment.describe(replace(EAGER, decodes=decodes), load_data(settings.data))
        assert session["decoder"].startswith(f"{name} ")
        assert session["decoder"].endswith(", nvJPEG") == decodes
        assert ("decode cuda" in session["execution"]) == decodes
    assert "decoder" not in environment.describe(EAGER, load_data(config.data))
    assert decoded_by(changed(settings, compute={"decode": "cuda"})) == {"decode": "cuda"}
    assert decoded_by(settings) == decoded_by(changed(config, compute={"decode": "cuda"})) == {}


@GPU
@pytest.mark.gpu
def test_nvjpeg_decodes_what_the_cpu_decodes_but_for_interpolation():
    """Grey levels apart, on average: a few at most where colours are subsampled."""
    if decode_jpeg is None:
        pytest.skip("no TorchCodec")
    device = torch.device("cuda", 0)
    decoder = gpu_decoder(device)
    whole = {**USUAL, "full colours": jpeg(picture(90, 60, 7), subsampling="4:4:4")}
    sources = [to_source(each) for each in whole.values()]
    images = list(decode_all(decoder, [each.content for each in sources], device))
    for name, source, image, content in zip(whole, sources, images, whole.values(), strict=True):
        assert image is not None, name
        ours, theirs = image.cpu().int(), decode(content).int()
        assert ours.shape == theirs.shape, name
        gap = (ours - theirs).abs().float()
        assert gap.mean() < 3, name
        if name in ("grey", "full colours"):
            assert np.quantile(gap.numpy(), 0.99) <= 3, name
        view = draw_view(source.height, source.width, SCALE, 32, True, random.Random(1))
        views = [take_view(each, view, 32, "bilinear").cpu() for each in (image, decode(content))]
        assert (views[0].int() - views[1].int()).abs().float().mean() < 3, name
