"""The operator y = relu(bn(x) + h): plain torch against torch's layers, C++ against plain torch."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_repro.kernels.batch_norm import batch_norm, batch_norm_of_averages
from tests.support.kernels import (
    NO_COMPILER,
    Case,
    assert_alike,
    cpu_kernels,
    exact,
    results,
)

BF16 = torch.bfloat16
TOLERANCE = {torch.float32: 1e-5, BF16: 1e-2}


@pytest.mark.parametrize("num_groups", [1, 2, 4, 8])
@pytest.mark.parametrize(("relu", "adds"), [(True, True), (True, False), (False, True)])
def test_groups_have_their_own_statistics_and_the_averages_move_to_their_mean(
    num_groups, relu, adds
):
    case = Case((16, 5, 4, 3), num_groups, relu=relu, added=adds, second=False)
    maps, vectors = [m.double() for m in case.maps()], [v.double() for v in case.vectors()]
    ours = results(case, maps, vectors)
    x, h, grad = maps[0].requires_grad_(), maps[1].requires_grad_(), maps[2]
    weight, bias = (each.requires_grad_() for each in vectors[:2])
    outputs, averages = [], []
    for part in x.chunk(num_groups):
        layer = nn.BatchNorm2d(5, dtype=torch.float64)
        layer.load_state_dict({"running_mean": vectors[2], "running_var": vectors[3],
                               "weight": weight, "bias": bias}, strict=False)  # fmt: skip
        y = layer(part)  # the sum over groups of the layers' gradients is that of the weights
        outputs.append(y)
        averages.append((layer.running_mean, layer.running_var, layer.weight, layer.bias))
    y = torch.cat(outputs) + (h if adds else 0)
    y = F.relu(y) if relu else y
    y.backward(grad)
    means, variances, weights, biases = zip(*averages, strict=True)
    theirs = {
        "y": y.detach(),
        "mean": sum(means) / num_groups,
        "var": sum(variances) / num_groups,
        "gradient of x": x.grad,
        "gradient of weight": sum(each.grad for each in weights),
        "gradient of bias": sum(each.grad for each in biases),
    }
    assert_alike(ours, theirs | ({"gradient of h": h.grad} if adds else {}), tolerance=1e-12)


@pytest.fixture(scope="module")
def kernels():
    return cpu_kernels() or pytest.skip(NO_COMPILER)


# Whole vectors, parts of one, and both; few channels and several tiles of them.
@pytest.mark.parametrize("channels", [1, 3, 16, 32, 37, 64, 160, 333])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_cpu_kernels_compute_what_plain_torch_does(kernels, channels, dtype):
    shape = 4, channels, 11, 13
    for case in (
        Case(shape, 1, dtype=dtype),
        Case(shape, 2, dtype=dtype, added=False),
        Case(shape, 4, dtype=dtype, relu=False, second=False),
        Case(shape, 2, dtype=dtype, second=False),
        Case(shape, 1, dtype=dtype, relu=False, added=False),
        Case((12, channels, 1, 1), 2, dtype=dtype),
    ):
        maps, vectors = case.maps(), case.vectors()
        assert kernels.takes(maps[0])
        # What rounding can move across the ReLU's threshold has no gradient.
        certain = exact(replace(case, relu=False), maps, vectors)["y"].abs() > 1e-3
        maps[2:] = [grad * certain for grad in maps[2:]]
        ours = results(case, maps, vectors, kernels)
        assert_alike(ours, exact(case, maps, vectors), tolerance=TOLERANCE[dtype])


def test_the_cpu_kernels_take_many_rows_and_a_large_mean(kernels):
    """Sums of differences: single-precision sums of squares would have no correct digit."""
    case = Case((8, 16, 64, 64), 2, relu=False, mean=1000)
    maps, vectors = case.maps(), case.vectors()
    ours = results(case, maps, vectors, kernels)
    # The mean is rounded to a ten thousandth of the deviation.
    assert_alike(ours, exact(case, maps, vectors), tolerance=1e-4)


def test_the_cpu_kernels_give_the_same_bits_with_any_number_of_threads(kernels):
    case, made, threads = Case((8, 24, 40, 40), 4), [], torch.get_num_threads()
    maps, vectors = case.maps(), case.vectors()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            made.append(results(case, maps, vectors, kernels))
    finally:
        torch.set_num_threads(threads)
    for other in made[1:]:
        assert all(torch.equal(made[0][name], other[name]) for name in other)


def test_momentum_0_leaves_the_averages_and_nan_passes_the_relu(kernels):
    case = Case((4, 16, 5, 5), 1, momentum=0.0)
    (x, *_), vectors = case.maps(), case.vectors()
    norm = case.norm([each.clone() for each in vectors])
    x[0, 3, 2, 2] = float("nan")
    y = batch_norm(x, norm, kernels=kernels)
    assert torch.equal(norm.mean, vectors[2])
    assert torch.equal(norm.var, vectors[3])
    assert y[:, 3].isnan().all()
    assert not y[:, 4].isnan().any()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_test_uses_the_averages(kernels, dtype):
    case = Case((3, 19, 7, 7), 1, dtype=dtype)
    (x, h, *_), vectors = case.maps(), case.vectors()
    with torch.no_grad():
        ours = batch_norm_of_averages(x, case.norm(vectors), h, kernels)
    exactly = case.norm([each.double() for each in vectors])
    theirs = batch_norm_of_averages(x.double(), exactly, h.double())
    assert ours.dtype == dtype
    assert_alike({"y": ours}, {"y": theirs}, tolerance=TOLERANCE[dtype])


def test_one_value_per_channel_has_no_variance(kernels):
    case = Case((2, 4, 1, 1), 2)
    for used in (None, kernels):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            batch_norm(case.maps()[0], case.norm(case.vectors()), num_groups=2, kernels=used)
