"""The kernel of `cuda` that makes training views of images in a GPU's memory."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# ruff: noqa: ANN001, ANN201, N803

import triton
import triton.language as tl


# A mini-batch begins anywhere in an epoch: a kernel for another alignment would be compiled in the
# middle of a capture, which fails.
@triton.jit(do_not_specialize_on_alignment=["indices", "views"])
def crop_and_flip(
    pixels,
    labels,
    indices,
    views,
    mean,
    std,
    inputs,
    chosen,
    scale,
    padding,
    channels,
    height,
    width,
    CHANNELS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Write the inputs, of which a program computes PIXELS pixels of an image, and the labels."""
    image = tl.program_id(0)
    index, view = tl.load(indices + image), tl.load(views + image)
    if tl.program_id(1) == 0:
        tl.store(chosen + image, tl.load(labels + index))
    at = (tl.program_id(1) * PIXELS + tl.arange(0, PIXELS))[:, None]
    c = tl.arange(0, CHANNELS)[None, :]
    # Where the pixel comes from, outside of the image in its padding.
    size = 2 * padding + 1
    x = tl.where(view >= size * size, width - 1 - at % width, at % width)
    offset = view % (size * size)
    row, column = at // width + offset // size - padding, x + offset % size - padding
    exists = (at < height * width) & (c < channels)
    inside = exists & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = pixels + ((index * channels + c) * height + row) * width + column
    value = tl.load(source, mask=inside, other=0).to(tl.float32) * scale
    value -= tl.load(mean + (c * height + row) * width + column, mask=inside, other=0.0)
    value = tl.div_rn(value, tl.load(std + c + tl.zeros_like(at), mask=exists, other=1.0))
    to = inputs + (image.to(tl.int64) * height * width + at) * channels + c
    tl.store(to, tl.where(inside, value, 0.0), mask=exists)
