"""The operator on a CPU: `cpu.cpp`, called with the addresses of the maps.

Maps are float32 or bfloat16 in channels-last memory format; weights and statistics are float32.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache

import torch
from torch import Tensor

from resnet_repro.kernels.build import load
from resnet_repro.kernels.check import are_right
from resnet_repro.kernels.errors import KernelsError
from resnet_repro.kernels.interface import Kernels, Norm, Pool

SUFFIXES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
ARGUMENTS = {
    "forward": [c_void_p] * 9 + [c_double] * 2 + [c_int] + [c_int64] * 3,
    "evaluate": [c_void_p] * 6 + [c_int] + [c_int64] * 2,
    "backward": [c_void_p] * 11 + [c_int64] * 3,
}


def cpu_kernels() -> Kernels:
    """Return the kernels, built and checked once in a process.

    Raises:
        KernelsError: They cannot be built here, or compute something wrong.
    """
    found = _found()
    if isinstance(found, str):
        raise KernelsError(found)
    return found


@cache
def _found() -> "CpuKernels | str":
    """Return the kernels, or why there are none: an error that is kept keeps callers' memory."""
    try:
        kernels = CpuKernels(load())
    except KernelsError as error:
        return str(error)
    if not are_right(kernels, torch.device("cpu")):
        return "what the compiler built computes wrong values"
    return kernels


class CpuKernels:
    """The functions of the library; the shapes are those of `Kernels`."""

    name = "c++"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._functions = {}
        for name, arguments in ARGUMENTS.items():
            for dtype, suffix in SUFFIXES.items():
                function = getattr(library, f"{name}_{suffix}")
                function.argtypes, function.restype = arguments, None
                self._functions[name, dtype] = function
        self._augment = library.augment
        self._augment.argtypes, self._augment.restype = [c_void_p] * 6 + [c_int64] * 5, None

    def __reduce__(self) -> tuple[Callable[[], Kernels], tuple[()]]:
        """Let networks be copied and pickled: each process has its own library."""
        return cpu_kernels, ()

    def takes(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype in SUFFIXES
            and x.is_contiguous(memory_format=torch.channels_last)
        )

    def forward(
        self, x: Tensor, added: Tensor | None, norm: Norm, num_groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.empty_like(x)
        channels = x.shape[1]
        # Not halves of one tensor: views take three times as long as two tensors.
        mean, rstd = torch.empty(num_groups, channels), torch.empty(num_groups, channels)
        maps = _like(added, x)
        self._functions["forward", x.dtype](
            *map(_address, (x, maps, y, norm.weight, norm.bias, mean, rstd, norm.mean, norm.var)),
            *(norm.momentum, norm.eps, norm.relu),
            *(num_groups, x.numel() // channels // num_groups, channels),
        )
        return y, mean, rstd

    def evaluate(self, x: Tensor, added: Tensor | None, norm: Norm) -> Tensor:
        y = torch.empty_like(x)
        scale = norm.weight * (norm.var + norm.eps).rsqrt()
        maps = _like(added, x)
        self._functions["evaluate", x.dtype](
            *map(_address, (x, maps, y, norm.mean, scale, norm.bias)),
            *(norm.relu, x.numel() // x.shape[1], x.shape[1]),
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
        groups, channels = statistics[0].shape
        grad, second = (_like(each, x) for each in grads)
        of_added = torch.empty_like(x) if adds else None
        of_x, of_weight, of_bias = torch.empty_like(x), torch.empty(channels), torch.empty(channels)
        self._functions["backward", x.dtype](
            *map(_address, (grad, second, x, y, weight, *statistics)),
            *map(_address, (of_x, of_added, of_weight, of_bias)),
            *(groups, x.numel() // channels // groups, channels),
        )
        return of_x, of_weight, of_bias, of_added

    def augment(self, images: Pool, indices: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(indices), *images.pixels.shape[1:])
        inputs = torch.empty(shape, memory_format=torch.channels_last)
        arguments = images.pixels, indices, views, images.mean, images.std, inputs
        self._augment(*map(_address, arguments), *shape, images.padding)
        return inputs, images.labels[indices]


def _like(maps: Tensor | None, x: Tensor) -> Tensor | None:
    """Return maps in the precision and memory format of x."""
    if maps is None:
        return None
    return maps.to(x.dtype).contiguous(memory_format=torch.channels_last)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
