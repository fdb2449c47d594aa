"""The kernels of `cuda`: two in training's forward pass, two in its backward pass, one in a test.

A program takes CHANNELS channels (axis 0 of the grid), and of one group the tiles `part`, `part +
parts`, ... (axis 1: group * parts + part); see `triton_tiles`.

The first kernel of a pass writes the sums of each program, the second adds up those of its group,
always in the same order, and nothing waits for another program: the result has the same bits each
time. The sums are sums[2][groups][parts][channels], float32: of x - s and its square in the forward
pass, s being the value at the group's first position, so that a large mean does not cancel; of g
and g * (x - mean) in the backward pass, g being the gradient before the ReLU.

In the second kernel one program more for CHANNELS channels, the first on axis 1, writes what is
there once: statistics and running averages, or the gradients of weight and bias.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# ruff: noqa: ANN001, ANN201, N803

import triton
import triton.language as tl

from resnet_repro.kernels.triton_tiles import (
    add_parts,
    first_position,
    gradient,
    load,
    num_tiles,
    output,
    statistics,
    store_sums,
    tile,
)

# Numbers that the compiler is not to look at: kernels are compiled once for all their values.
ANY = ["outer", "groups", "parts"]


@triton.jit(do_not_specialize=ANY)
def sum_inputs(
    x,
    sums,
    outer,
    groups,
    parts,
    channels,
    inner,
    OUTER: tl.constexpr,
    CHANNELS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Forward, first: the sums of x - s and its square."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    group, part = tl.program_id(1) // parts, tl.program_id(1) % parts
    shift = first_position(x, group, c, outer, channels, inner)[None, :, None]
    total = tl.zeros([OUTER, CHANNELS, INNER], tl.float32)
    squares = tl.zeros([OUTER, CHANNELS, INNER], tl.float32)
    for number in range(part, num_tiles(outer, inner, OUTER, INNER), parts):
        start, at, inside = tile(number, group, c, outer, channels, inner, OUTER, INNER)
        value = tl.where(inside, load(x, start, at, inside) - shift, 0.0)
        total += value
        squares += value * value
    store_sums(sums, total, squares, group, part, c, groups, parts, channels)


@triton.jit(do_not_specialize=ANY)
def normalise(
    x,
    added,
    y,
    weight,
    bias,
    sums,
    mean,
    rstd,
    running_mean,
    running_var,
    momentum,
    eps,
    outer,
    groups,
    parts,
    channels,
    inner,
    RELU: tl.constexpr,
    OUTER: tl.constexpr,
    CHANNELS: tl.constexpr,
    INNER: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Forward, second: y, the groups' statistics, (G, C), and the running averages."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    worker = tl.program_id(1) - 1
    if worker < 0:
        means = tl.zeros([CHANNELS], tl.float32)
        variances = tl.zeros([CHANNELS], tl.float32)
        for group in range(groups):
            m, var = statistics(x, sums, group, c, outer, groups, parts, channels, inner, PARTS)
            tl.store(mean + group * channels + c, m, mask=inside)
            tl.store(rstd + group * channels + c, tl.rsqrt(var + eps), mask=inside)
            means += m
            variances += var
        count = (outer * inner).to(tl.float32)
        moves = inside & (momentum != 0)
        kept, each = 1 - momentum, momentum / groups
        old = tl.load(running_mean + c, mask=moves)
        tl.store(running_mean + c, kept * old + each * means, mask=moves)
        old = tl.load(running_var + c, mask=moves)
        unbiased = variances * (count / (count - 1))
        tl.store(running_var + c, kept * old + each * unbiased, mask=moves)
    else:
        group, part = worker // parts, worker % parts
        m, var = statistics(x, sums, group, c, outer, groups, parts, channels, inner, PARTS)
        scale = tl.rsqrt(var + eps) * tl.load(weight + c, mask=inside)
        shift = tl.load(bias + c, mask=inside)
        for number in range(part, num_tiles(outer, inner, OUTER, INNER), parts):
            start, at, inside_tile = tile(number, group, c, outer, channels, inner, OUTER, INNER)
            value = output(x, added, m, scale, shift, start, at, inside_tile, RELU)
            tl.store(y + start + at, value, mask=inside_tile)


@triton.jit(do_not_specialize=ANY)
def normalise_by_averages(
    x,
    added,
    y,
    weight,
    bias,
    running_mean,
    running_var,
    eps,
    outer,
    parts,
    channels,
    inner,
    RELU: tl.constexpr,
    OUTER: tl.constexpr,
    CHANNELS: tl.constexpr,
    INNER: tl.constexpr,
):
    """In a test: y, with the running averages as statistics; there is one group."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    m = tl.load(running_mean + c, mask=inside)
    scale = tl.rsqrt(tl.load(running_var + c, mask=inside) + eps) * tl.load(weight + c, mask=inside)
    shift = tl.load(bias + c, mask=inside)
    for number in range(tl.program_id(1), num_tiles(outer, inner, OUTER, INNER), parts):
        start, at, inside_tile = tile(number, 0, c, outer, channels, inner, OUTER, INNER)
        value = output(x, added, m, scale, shift, start, at, inside_tile, RELU)
        tl.store(y + start + at, value, mask=inside_tile)


@triton.jit(do_not_specialize=ANY)
def sum_gradients(
    grad,
    second,
    x,
    y,
    mean,
    sums,
    grad_added,
    outer,
    groups,
    parts,
    channels,
    inner,
    OUTER: tl.constexpr,
    CHANNELS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Backward, first: the sums of g and g * (x - mean), and g itself if maps were added."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    group, part = tl.program_id(1) // parts, tl.program_id(1) % parts
    m = tl.load(mean + group * channels + c, mask=c < channels, other=0.0)[None, :, None]
    total = tl.zeros([OUTER, CHANNELS, INNER], tl.float32)
    products = tl.zeros([OUTER, CHANNELS, INNER], tl.float32)
    for number in range(part, num_tiles(outer, inner, OUTER, INNER), parts):
        start, at, inside = tile(number, group, c, outer, channels, inner, OUTER, INNER)
        g = gradient(grad, second, y, start, at, inside)  # 0 outside
        if grad_added is not None:
            tl.store(grad_added + start + at, g, mask=inside)
        total += g
        products += g * (load(x, start, at, inside) - m)
    store_sums(sums, total, products, group, part, c, groups, parts, channels)


@triton.jit(do_not_specialize=ANY)
def input_gradient(
    grad,
    second,
    x,
    y,
    weight,
    mean,
    rstd,
    sums,
    grad_x,
    grad_weight,
    grad_bias,
    outer,
    groups,
    parts,
    channels,
    inner,
    OUTER: tl.constexpr,
    CHANNELS: tl.constexpr,
    INNER: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Backward, second: the gradients of x, weight and bias."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    worker = tl.program_id(1) - 1
    if worker < 0:
        of_weight = tl.zeros([CHANNELS], tl.float32)
        of_bias = tl.zeros([CHANNELS], tl.float32)
        for group in range(groups):
            total, product = add_parts(sums, group, c, groups, parts, channels, PARTS)
            of_weight += product * tl.load(rstd + group * channels + c, mask=inside)
            of_bias += total
        tl.store(grad_weight + c, of_weight, mask=inside)
        tl.store(grad_bias + c, of_bias, mask=inside)
    else:
        group, part = worker // parts, worker % parts
        total, product = add_parts(sums, group, c, groups, parts, channels, PARTS)
        count = (outer * inner).to(tl.float32)
        m = tl.load(mean + group * channels + c, mask=inside)[None, :, None]
        r = tl.load(rstd + group * channels + c, mask=inside)
        # grad_x = a * g - (b * (x - mean) + d)
        factor = r * tl.load(weight + c, mask=inside)
        a = factor[None, :, None]
        b = (factor * r * r * product / count)[None, :, None]
        d = (factor * total / count)[None, :, None]
        for number in range(part, num_tiles(outer, inner, OUTER, INNER), parts):
            start, at, inside_tile = tile(number, group, c, outer, channels, inner, OUTER, INNER)
            g = gradient(grad, second, y, start, at, inside_tile)
            value = a * g - (b * (load(x, start, at, inside_tile) - m) + d)
            tl.store(grad_x + start + at, value, mask=inside_tile)
