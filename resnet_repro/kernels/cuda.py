"""The operator on CUDA: the kernels of `triton_kernels`, launched.

Maps are float32 or bfloat16, contiguous or in channels-last memory format; weights and statistics
are float32. A pass is two launches and allocates its workspace, so it can be captured.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor

from resnet_repro.kernels.check import are_right
from resnet_repro.kernels.errors import KernelsError
from resnet_repro.kernels.interface import Kernels, Norm, Pool
from resnet_repro.kernels.triton_augment import crop_and_flip
from resnet_repro.kernels.triton_kernels import (
    input_gradient,
    normalise,
    normalise_by_averages,
    sum_gradients,
    sum_inputs,
)

OLDEST = (7, 0)  # compute capability, of what Triton compiles for
# Fused multiply-adds are what Triton has by default, before its release 3.10.
OPTIONS = {"num_warps": 8, "enable_fp_fusion": True}
PROGRAMS = 256  # 2 for each processor of an H100, if the maps suffice
PIXELS = 512  # of an image that a program of the augmentation computes
MOST_PARTS = 128  # sums of a group that a program adds up; a power of 2


def cuda_kernels(device: torch.device) -> Kernels:
    """Return the kernels, checked once in a process and for a device.

    Raises:
        KernelsError: The device is too old, Triton fails, or computes something wrong.
    """
    found = _found(device)
    if isinstance(found, str):
        raise KernelsError(found)
    return found


@cache
def _found(device: torch.device) -> "TritonKernels | str":
    """Return the kernels, or why there are none: an error that is kept keeps callers' memory."""
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        name = torch.cuda.get_device_name(device)
        return f"Triton does not compile for {name}"
    kernels = TritonKernels()
    try:
        right = are_right(kernels, device)
    except Exception as error:  # a missing compiler or a wrong driver raises many kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return f"Triton does not work here ({reason[0]})"
    return kernels if right else "what Triton compiled computes wrong values"


@dataclass(frozen=True)
class Layout:
    """How maps lie in memory, and how they are cut into tiles; see `triton_kernels`.

    Attributes:
        outer, channels, inner: The shape of a group.
        groups: G.
        tile: OUTER, CHANNELS, INNER, powers of 2.
        parts: The number of programs of a group that share its tiles.
    """

    outer: int
    channels: int
    inner: int
    groups: int
    tile: tuple[int, int, int]
    parts: int

    @classmethod
    def of(cls, x: Tensor, groups: int = 1) -> Self:
        """Cut maps (N, C, H, W), which are contiguous in one of both formats.

        Kernels are compiled for a tile, so all layers of a network should have the same.
        """
        images, channels, height, width = x.shape
        outer, inner = images, height * width
        tile = 32, 1, 64  # several images, as maps can be as small as 7x7
        if x.is_contiguous(memory_format=torch.channels_last):
            outer, inner = images * height * width, 1
            # Of a position 64 bytes: DRAM reads no less.
            together = min(1 << (channels - 1).bit_length(), 64 // x.element_size())
            tile = 4096 // together, together, 1
        outer //= groups
        tiles = _ceil(outer, tile[0]) * _ceil(inner, tile[2])
        wanted = PROGRAMS // (_ceil(channels, tile[1]) * groups)
        return cls(outer, channels, inner, groups, tile, max(1, min(tiles, wanted, MOST_PARTS)))

    def grid(self, extra: int = 0) -> tuple[int, int]:
        """Return the number of programs on each axis, with some extra for all channels."""
        return _ceil(self.channels, self.tile[1]), self.groups * self.parts + extra

    def sizes(self) -> dict[str, int]:
        """Return the arguments of kernels that say how maps are cut."""
        sizes = dict(zip(("OUTER", "CHANNELS", "INNER"), self.tile, strict=True))
        names = ("outer", "groups", "parts", "channels", "inner")
        return {name: getattr(self, name) for name in names} | sizes

    def new_sums(self, device: torch.device) -> Tensor:
        """Allocate the sums of all programs."""
        shape = 2, self.groups, self.parts, self.channels
        return torch.empty(shape, dtype=torch.float32, device=device)


class TritonKernels:
    """The launches of a pass; the shapes are those of `Kernels`."""

    name = "triton"

    def takes(self, x: Tensor) -> bool:
        return (
            x.is_cuda
            and x.dtype in (torch.float32, torch.bfloat16)
            and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last))
        )

    def forward(
        self, x: Tensor, added: Tensor | None, norm: Norm, num_groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        layout = Layout.of(x, num_groups)
        y, sums = torch.empty_like(x), layout.new_sums(x.device)
        mean, rstd = torch.empty((2, num_groups, layout.channels), device=x.device)
        sizes = layout.sizes()
        _launch(sum_inputs, layout.grid(), x, sums, **sizes)
        _launch(
            normalise,
            layout.grid(extra=1),
            *(x, _like(added, x), y, norm.weight, norm.bias, sums, mean, rstd, norm.mean, norm.var),
            *(float(norm.momentum), norm.eps),
            **sizes,
            RELU=norm.relu,
            PARTS=MOST_PARTS,
        )
        return y, mean, rstd

    def evaluate(self, x: Tensor, added: Tensor | None, norm: Norm) -> Tensor:
        layout = Layout.of(x)
        y, sizes = torch.empty_like(x), layout.sizes()
        del sizes["groups"]
        _launch(
            normalise_by_averages,
            layout.grid(),
            *(x, _like(added, x), y, norm.weight, norm.bias, norm.mean, norm.var, norm.eps),
            **sizes,
            RELU=norm.relu,
        )
        return y

    def backward(
        self,
        grads: tuple[Tensor, Tensor | None],
        x: Tensor,
        y: Tensor | None,
        weight: Tensor,
        statistics: tuple[Tensor, Tensor],
        *,
        adds: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        mean, rstd = statistics
        layout = Layout.of(x, len(mean))
        sums, sizes = layout.new_sums(x.device), layout.sizes()
        grad, second = (_like(each, x) for each in grads)
        of_x, of_added = torch.empty_like(x), torch.empty_like(x) if adds else None
        of_weight, of_bias = torch.empty((2, layout.channels), device=x.device)
        _launch(
            sum_gradients,
            layout.grid(),
            *(grad, second, x, y, mean, sums, of_added),
            **sizes,
        )
        # What was added has the gradient before the ReLU, so that need not be computed again.
        sources = (grad, second, x, y) if of_added is None else (of_added, None, x, None)
        _launch(
            input_gradient,
            layout.grid(extra=1),
            *(*sources, weight, mean, rstd, sums, of_x, of_weight, of_bias),
            **sizes,
            PARTS=MOST_PARTS,
        )
        return of_x, of_weight, of_bias, of_added

    def augment(self, images: Pool, indices: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        pixels, size = images.pixels, len(indices)
        channels, height, width = pixels.shape[1:]
        inputs = torch.empty(
            (size, channels, height, width),
            device=pixels.device,
            memory_format=torch.channels_last,
        )
        labels = torch.empty(size, dtype=images.labels.dtype, device=pixels.device)
        with torch.cuda.device_of(pixels):  # type: ignore[no-untyped-call]
            crop_and_flip[size, _ceil(height * width, PIXELS)](
                *(pixels, images.labels, indices, views, images.mean, images.std, inputs, labels),
                1 / 255,  # what torch multiplies by on a GPU, in place of a division
                *(images.padding, channels, height, width),
                CHANNELS=1 << (channels - 1).bit_length(),
                PIXELS=PIXELS,
                enable_fp_fusion=False,  # torch rounds the product before it subtracts
            )
        return inputs, labels


def _launch(kernel: Any, grid: tuple[int, int], *arguments: Any, **named: Any) -> None:  # noqa: ANN401
    """Launch a kernel on the current stream of its first argument's device."""
    with torch.cuda.device_of(arguments[0]):  # type: ignore[no-untyped-call]
        kernel[grid](*arguments, **named, **OPTIONS)


def _ceil(number: int, size: int) -> int:
    """Return how many of a size it takes."""
    return -(-number // size)


def _like(maps: Tensor | None, x: Tensor) -> Tensor | None:
    """Return maps in the precision and memory format of x; copied only if they differ in it."""
    if maps is None or (maps.dtype == x.dtype and maps.stride() == x.stride()):
        return maps
    return torch.empty_like(x).copy_(maps)
