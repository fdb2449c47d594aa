"""Operators of our own, for what torch computes in many passes over memory.

`batch_norm` is batch norm with the addition and the ReLU that follow it; images in memory are
augmented in one pass. `cpu` (C++) and `cuda` (Triton) compute them, and plain torch elsewhere.
"""

import torch

from resnet_repro.kernels.errors import KernelsError
from resnet_repro.kernels.interface import Kernels, Norm, Pool

__all__ = ["Kernels", "KernelsError", "Norm", "Pool", "find_kernels"]


def find_kernels(device: torch.device) -> Kernels | None:
    """Return the kernels for a device, built once; None if there are none for its kind.

    Raises:
        KernelsError: They cannot be built or do not work here.
    """
    if device.type == "cpu":
        from resnet_repro.kernels.cpu import cpu_kernels

        return cpu_kernels()
    if device.type == "cuda":
        try:
            from resnet_repro.kernels.cuda import cuda_kernels
        except ImportError as error:
            raise KernelsError(f"Triton cannot be imported: {error}") from error
        return cuda_kernels(device)
    return None
