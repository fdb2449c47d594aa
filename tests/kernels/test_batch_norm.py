"""The operator y = relu(bn(x) + h), in plain torch and in C++, against torch's own layers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_repro.kernels import KernelsError, cpu
from resnet_repro.kernels.batch_norm import Norm, again, batch_norm, batch_norm_of_averages


def draw(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def make_norm(channels, *, relu=True, momentum=0.1):
    weight, bias, mean, var = torch.randn(4, channels)
    return Norm(weight, bias, mean, var.exp(), momentum=momentum, eps=1e-5, relu=relu)


def fresh(norm, dtype):
    """Return a copy in a precision, with gradients of weight and bias."""
    weight, bias, mean, var = (
        each.detach().to(dtype, copy=True) for each in (norm.weight, norm.bias, norm.mean, norm.var)
    )
    parameters = {"weight": weight.requires_grad_(), "bias": bias.requires_grad_()}
    return replace(norm, mean=mean, var=var, **parameters)


def results(compute, x, norm, added, grads, dtype=None):
    """Return y, the gradients and the averages, as `compute(x, norm, added)` makes them.

    In another precision than that of x (a reference), the gradients of y's uses are summed before.
    """
    norm = fresh(norm, dtype or torch.float32)
    x, added = (
        None if each is None else each.detach().to(dtype or each.dtype, copy=True).requires_grad_()
        for each in (x, added)
    )
    y = compute(x, norm, added)
    if dtype:
        y.backward(sum(grad.to(dtype) for grad in grads))
    else:
        torch.autograd.backward([y, again(y)][: len(grads)], grads)
    made = [y, x.grad, norm.weight.grad, norm.bias.grad, norm.mean, norm.var]
    return [each.detach().double() for each in [*made, *([] if added is None else [added.grad])]]


def layer_by_layer(num_groups):
    """Compute the operator with a batch norm of torch's for each group, an addition and a ReLU."""

    def compute(x, norm, added):
        outputs, averages = [], []
        for part in x.chunk(num_groups):
            layer = nn.BatchNorm2d(x.shape[1], dtype=x.dtype)
            del layer.weight, layer.bias
            layer.weight, layer.bias = norm.weight, norm.bias
            layer.running_mean, layer.running_var = norm.mean.clone(), norm.var.clone()
            outputs.append(layer(part))
            averages.append((layer.running_mean, layer.running_var))
        for average, each in zip((norm.mean, norm.var), zip(*averages, strict=True), strict=True):
            average.copy_(sum(each) / num_groups)
        y = torch.cat(outputs)
        y = y if added is None else y + added
        return F.relu(y) if norm.relu else y

    return compute


def by(kernels, num_groups):
    return lambda x, norm, added: batch_norm(x, norm, added, num_groups=num_groups, kernels=kernels)


def assert_close(ours, theirs, tolerance):
    """Compare tensors, each relative to its largest value."""
    for mine, other in zip(ours, theirs, strict=True):
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(mine / scale, other / scale, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("num_groups", [1, 2, 4, 8])
@pytest.mark.parametrize(("relu", "adds"), [(True, True), (True, False), (False, True)])
def test_groups_have_their_own_statistics_and_the_averages_move_to_their_mean(
    num_groups, relu, adds
):
    torch.manual_seed(0)
    x, added, grad = draw(16, 5, 4, 3), draw(16, 5, 4, 3) if adds else None, draw(16, 5, 4, 3)
    norm = make_norm(5, relu=relu)
    ours, theirs = (
        results(compute, x, norm, added, [grad], torch.float64)
        for compute in (by(None, num_groups), layer_by_layer(num_groups))
    )
    assert_close(ours, theirs, 1e-12)


@pytest.fixture(scope="module")
def kernels():
    try:
        return cpu.cpu_kernels()
    except KernelsError as error:
        pytest.skip(f"the CPU kernels cannot be built here: {error}")


CASES = [  # groups, ReLU, addition, uses of y
    (1, True, True, 2),
    (2, True, False, 2),
    (4, False, True, 1),
    (2, True, True, 1),
    (1, False, False, 2),
]


# Whole vectors, parts of one, and both; few channels and several tiles of them.
@pytest.mark.parametrize("channels", [1, 3, 16, 32, 37, 64, 160, 333])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_the_cpu_kernels_compute_what_the_layers_do(kernels, channels, dtype, tolerance):
    torch.manual_seed(channels)
    for num_groups, relu, adds, uses in CASES:
        shape = 4, channels, 11, 13
        x, added = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype) if adds else None
        grads = [draw(*shape, dtype=dtype) for _ in range(uses)]
        norm = make_norm(channels, relu=relu)
        assert kernels.takes(x)
        # A ReLU of a value that rounding made 0 has another gradient.
        ours = results(by(kernels, num_groups), x, norm, added, grads)
        theirs = results(layer_by_layer(num_groups), x, norm, added, grads, torch.float64)
        assert_close(ours, theirs, tolerance)


def test_the_cpu_kernels_take_many_rows_and_a_large_mean(kernels):
    """Sums of differences: single-precision sums of squares would have no correct digit."""
    torch.manual_seed(0)
    x = 1000 + draw(8, 16, 64, 64, dtype=torch.float32)
    grads, norm = [draw(8, 16, 64, 64, dtype=torch.float32)], make_norm(16, relu=False)
    ours = results(by(kernels, 2), x, norm, None, grads)
    theirs = results(layer_by_layer(2), x, norm, None, grads, torch.float64)
    assert_close(ours, theirs, 1e-4)  # the mean is rounded to a ten thousandth of the deviation


def test_the_cpu_kernels_give_the_same_bits_with_any_number_of_threads(kernels):
    torch.manual_seed(0)
    x, grads = draw(8, 24, 40, 40, dtype=torch.float32), [draw(8, 24, 40, 40, dtype=torch.float32)]
    norm, made, threads = make_norm(24), [], torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            made.append(results(by(kernels, 4), x, norm, x, grads))
    finally:
        torch.set_num_threads(threads)
    for other in made[1:]:
        assert all(torch.equal(*pair) for pair in zip(made[0], other, strict=True))


def test_momentum_0_leaves_the_averages_and_nan_passes_the_relu(kernels):
    x, norm = draw(4, 16, 5, 5, dtype=torch.float32), make_norm(16, momentum=0.0)
    mean, var = norm.mean.clone(), norm.var.clone()
    x[0, 3, 2, 2] = float("nan")
    y = batch_norm(x, norm, kernels=kernels)
    assert torch.equal(norm.mean, mean)
    assert torch.equal(norm.var, var)
    assert y[:, 3].isnan().all()
    assert not y[:, 4].isnan().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_test_uses_the_averages(kernels, dtype):
    x, added, norm = draw(3, 19, 7, 7, dtype=dtype), draw(3, 19, 7, 7, dtype=dtype), make_norm(19)
    with torch.no_grad():
        ours = batch_norm_of_averages(x, norm, added, kernels)
    wide = batch_norm_of_averages(x.double(), fresh(norm, torch.float64), added.double())
    assert ours.dtype == dtype
    assert_close([ours.double()], [wide.detach()], 1e-5 if dtype == torch.float32 else 1e-2)


def test_one_value_per_channel_has_no_variance(kernels):
    for used in (None, kernels):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            batch_norm(
                draw(2, 4, 1, 1, dtype=torch.float32), make_norm(4), num_groups=2, kernels=used
            )
