"""The values of the Triton kernels, computed without a GPU by Triton's interpreter.

`test_cuda` runs these tests in a process of its own, as Triton has to be imported with
TRITON_INTERPRET=1. Some layouts here are of several programs, and parts of maps do not fill a tile.
"""

from dataclasses import replace

import pytest
import torch

from resnet_repro.data.images import crop_and_flip
from resnet_repro.data.inputs import Inputs
from resnet_repro.kernels import Pool
from resnet_repro.kernels.batch_norm import batch_norm, batch_norm_of_averages
from resnet_repro.kernels.check import are_right
from resnet_repro.kernels.cuda import Layout, TritonKernels
from tests.support.kernels import Case, assert_alike, exact, results

BF16 = torch.bfloat16
TOLERANCE = {torch.float32: 1e-5, BF16: 1e-2}


class Interpreted(TritonKernels):
    def takes(self, x):
        return True


CASES = [
    Case((4, 10, 15, 20), groups=1),
    Case((4, 37, 9, 8), groups=2, added=False),
    Case((8, 37, 3, 3), groups=4, relu=False, added=False, second=False),
    Case((4, 10, 15, 20), groups=2, dtype=BF16),
    Case((4, 37, 9, 8), groups=1, dtype=BF16, added=False, second=False),
    Case((4, 160, 3, 3), groups=2, dtype=BF16, relu=False, second=False),
    Case((70, 2, 9, 8), groups=1, format="NCHW"),
    Case((8, 3, 7, 7), groups=4, format="NCHW", relu=False, added=False),
    Case((4, 3, 7, 7), groups=2, format="NCHW", dtype=BF16, second=False),
    Case((6, 16, 1, 1), groups=2, added=False),
    Case((4, 10, 15, 20), groups=2, mean=1000, std=0.1),
    Case((4, 3, 15, 20), groups=2, format="NCHW", mean=-1000, std=0.1),
]


@pytest.mark.parametrize(
    "case",
    [  # the interpreter takes a second for each
        pytest.param(case, id=str(case), marks=pytest.mark.slow if number % 4 else ())
        for number, case in enumerate(CASES)
    ],
)
def test_values_are_those_of_plain_torch(case):
    maps, vectors = case.maps(), case.vectors()
    ours = results(case, maps, vectors, Interpreted())
    # Beside a mean of 1000, float32 holds a deviation of 0.1 to 3e-4.
    tolerance = TOLERANCE[case.dtype] if case.std == 1 else 1e-3
    assert_alike(ours, exact(case, maps, vectors), tolerance=tolerance)
    assert ours["y"].dtype == ours["gradient of x"].dtype == case.dtype
    assert ours["y"].stride() == ours["gradient of x"].stride() == maps[0].stride()


def test_the_cases_have_several_programs_per_group_and_tiles_that_are_not_full():
    layouts = [Layout.of(case.maps()[0], case.groups) for case in CASES]
    assert {layout.parts for layout in layouts} >= {1, 3, 5}
    assert all(layout.outer % layout.tile[0] for layout in layouts)


def test_a_program_takes_several_tiles(monkeypatch):
    monkeypatch.setattr("resnet_repro.kernels.cuda.PROGRAMS", 4)
    case = Case((4, 10, 15, 40), groups=2)
    assert Layout.of(case.maps()[0], 2).parts == 2  # of 5 tiles
    maps, vectors = case.maps(), case.vectors()
    ours = results(case, maps, vectors, Interpreted())
    assert_alike(ours, exact(case, maps, vectors), tolerance=1e-5)


def test_gradients_come_in_any_memory_format():
    """Those of a mean are one number for a whole map; those of zero-padding are contiguous."""
    case = Case((4, 10, 5, 6), groups=2)
    x, h, first, second = case.maps()
    maps = [x, h, first[:, :, :1, :1].expand_as(x), second.contiguous()]
    vectors = case.vectors()
    ours = results(case, maps, vectors, Interpreted())
    assert_alike(ours, exact(case, maps, vectors), tolerance=1e-5)


def test_momentum_0_leaves_the_averages():
    """Also where the statistics are nan, which 0 times is nan."""
    case = Case((4, 10, 5, 6), groups=2, momentum=0)
    maps, before = case.maps(), case.vectors()
    maps[0][0, 3, 0, 0] = torch.nan
    ours = results(case, maps, before, Interpreted())
    assert torch.equal(ours["mean"], before[2])
    assert torch.equal(ours["var"], before[3])


@pytest.mark.parametrize("form", ["NCHW", "NHWC"])
def test_in_a_test_the_averages_are_the_statistics(form):
    case = Case((4, 10, 9, 8), groups=1, format=form)
    (x, h, *_), vectors = case.maps(), case.vectors()
    for relu, added in ((True, h), (False, None)):
        norm = replace(case, relu=relu).norm(vectors)
        with torch.no_grad():
            ours = batch_norm_of_averages(x, norm, added, Interpreted())
            assert_alike({"y": ours}, {"y": batch_norm_of_averages(x, norm, added)}, tolerance=1e-5)
    assert torch.equal(norm.mean, case.vectors()[2])


def test_nan_passes_the_relu():
    """A diverged network has to be seen."""
    case = Case((4, 10, 5, 6), groups=2)
    x, h, *_ = case.maps()
    x[1, 3, 2, 2] = torch.nan
    norm = case.norm(case.vectors())
    y = batch_norm(x, norm, h, num_groups=2, kernels=Interpreted())
    assert y.isnan().sum(dim=(2, 3))[:, 3].tolist() == [30, 30, 0, 0]
    assert y.isnan().sum() == 60
    assert norm.mean[3].isnan()
    assert norm.var[3].isnan()
    with torch.no_grad():
        y = batch_norm_of_averages(x, case.norm(case.vectors()), h, Interpreted())
    assert y.isnan().nonzero().tolist() == [[1, 3, 2, 2]]


class Wrong(Interpreted):
    def backward(self, *args, **kwargs):
        of_x, of_weight, *others = super().backward(*args, **kwargs)
        return of_x, 1.001 * of_weight, *others


def test_the_check_on_a_device_finds_what_is_wrong():
    assert are_right(Interpreted(), torch.device("cpu"))
    assert not are_right(Wrong(), torch.device("cpu"))


@pytest.mark.parametrize(("padding", "channel_means"), [(1, False), (2, True)])
def test_augmented_images_have_the_bits_of_torchs(padding, channel_means):
    """All views of the smaller padding, a third of the other's; each image is two programs."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (9, 3, 23, 25), dtype=torch.uint8, generator=generator)
    views = {1: torch.arange(18), 2: torch.arange(0, 50, 3)}[padding]  # crops, and mirrored ones
    indices = torch.arange(len(views)) % 9
    mean, std = torch.rand(3, 23, 25, generator=generator), torch.ones(3)
    if channel_means:
        mean = mean[:, :1, :1].expand_as(mean).contiguous()
        std = torch.rand(3, generator=generator)
    images = Pool(pixels, torch.arange(9) * 10, mean, std, padding=padding)
    ours, labels = Interpreted().augment(images, indices, views)
    statistics = Inputs(mean, std.view(3, 1, 1))
    normalised = statistics.normalise(pixels[indices].float() * torch.tensor(1 / 255))
    theirs = crop_and_flip(normalised, views, padding)
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()
    assert torch.equal(labels, images.labels[indices])
