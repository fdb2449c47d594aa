"""The device a run is computed on, and the precision it is computed in."""

import os

import torch

from resnet_repro.config import ComputeConfig
from resnet_repro.errors import UserError


def choose_device(compute: ComputeConfig) -> torch.device:
    """Return the device asked for, set up; `auto` is cuda, else mps, else cpu.

    Raises:
        UserError: This machine has no such device.
    """
    if compute.threads is not None:
        torch.set_num_threads(compute.threads)
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if compute.device == "auto":
        return torch.device(next((name for name, found in there.items() if found), "cpu"))
    device = torch.device(compute.device)
    if not there.get(device.type, True) or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise UserError(f"compute.device={compute.device}: this machine has none; say auto or cpu")
    return device


def choose_precision(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which the network is computed: autocast for `bf16`, idle else.

    Raises:
        UserError: The device does not have that precision.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UserError(
            f"recipe.precision=tf32 needs a CUDA GPU; on {device.type} say fp32 or bf16"
        )
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
