"""What the kernels of `triton_kernels` do with a tile of their maps, and with their sums.

Maps are [groups * outer][channels][inner] in memory: of channels-last maps (N, H, W, C), a group
has N H W / G outer positions and one inner; of contiguous maps (N, C, H, W), N / G and H W. A tile
is OUTER x CHANNELS x INNER of them, `c` its channels. Offsets within a tile have 32 bits, those of
tiles 64. Maps are float32 or bfloat16, and all arithmetic is float32.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# ruff: noqa: ANN001, ANN201, N803

import triton
import triton.language as tl


@triton.jit
def num_tiles(outer, inner, OUTER: tl.constexpr, INNER: tl.constexpr):
    """Return the number of tiles of a group and CHANNELS channels."""
    return tl.cdiv(outer, OUTER) * tl.cdiv(inner, INNER)


@triton.jit
def tile(number, group, c, outer, channels, inner, OUTER: tl.constexpr, INNER: tl.constexpr):
    """Return where a tile starts, its positions from there, and which of them there are."""
    across = tl.cdiv(inner, INNER)
    first = number // across * OUTER
    o = tl.arange(0, OUTER)[:, None, None]
    i = (number % across * INNER + tl.arange(0, INNER))[None, None, :]
    start = (group * outer + first).to(tl.int64) * channels * inner
    at = (o * channels + c[None, :, None]) * inner + i
    return start, at, (first + o < outer) & (c[None, :, None] < channels) & (i < inner)


@triton.jit
def load(maps, start, at, inside):
    """Return a tile, 0 where there is nothing."""
    return tl.load(maps + start + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def first_position(x, group, c, outer, channels, inner):
    """Return the values at a group's first position, (CHANNELS,)."""
    start = (group * outer).to(tl.int64) * channels * inner
    return load(x, start, c * inner, c < channels)


@triton.jit
def store_sums(sums, first, second, group, part, c, groups, parts, channels):
    """Write the sums over two tiles."""
    to = sums + (group * parts + part) * channels + c
    tl.store(to, tl.sum(tl.sum(first, axis=2), axis=0), mask=c < channels)
    to += groups * parts * channels
    tl.store(to, tl.sum(tl.sum(second, axis=2), axis=0), mask=c < channels)


@triton.jit
def add_parts(sums, group, c, groups, parts, channels, PARTS: tl.constexpr):
    """Return both sums of a group, (CHANNELS,)."""
    part = tl.arange(0, PARTS)[:, None]
    at = sums + (group * parts + part) * channels + c[None, :]
    inside = (part < parts) & (c[None, :] < channels)
    first = tl.load(at, mask=inside, other=0.0)
    second = tl.load(at + groups * parts * channels, mask=inside, other=0.0)
    return tl.sum(first, axis=0), tl.sum(second, axis=0)


@triton.jit
def statistics(x, sums, group, c, outer, groups, parts, channels, inner, PARTS: tl.constexpr):
    """Return the mean and the variance of a group, (CHANNELS,)."""
    total, squares = add_parts(sums, group, c, groups, parts, channels, PARTS)
    count = (outer * inner).to(tl.float32)
    offset = total / count
    var = squares / count - offset * offset
    # Rounding can make it negative. A maximum would hide that it is nan.
    return first_position(x, group, c, outer, channels, inner) + offset, tl.where(var < 0, 0.0, var)


@triton.jit
def output(x, added, mean, scale, shift, start, at, inside, RELU: tl.constexpr):
    """Return y in a tile."""
    value = load(x, start, at, inside) - mean[None, :, None]
    value = value * scale[None, :, None] + shift[None, :, None]
    if added is not None:
        value += load(added, start, at, inside)
    if RELU:
        value = tl.where(value < 0, 0.0, value)  # nan passes
    return value


@triton.jit
def gradient(grad, second, y, start, at, inside):
    """Return the gradient before the ReLU in a tile, of the one or two uses of y."""
    g = load(grad, start, at, inside)
    if second is not None:
        g += load(second, start, at, inside)
    if y is not None:
        g = tl.where(load(y, start, at, inside) > 0, g, 0.0)
    return g
