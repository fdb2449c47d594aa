"""How a network is computed: the device, the precision and the options that make it faster.

The precision can change a result, so it is part of the recipe. Everything else here gives the same
results up to rounding, and depends on the machine.
"""

import ctypes
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine.device import choose_device, set_up_device
from resnet_repro.engine.groups import accumulates
from resnet_repro.errors import UserError
from resnet_repro.kernels import Kernels, KernelsError, find_kernels
from resnet_repro.machine import has_bf16
from resnet_repro.models.external import check_external
from resnet_repro.models.layers import BatchNorm
from resnet_repro.models.resnet import ResNet
from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.external_model import ExternalModelConfig, Model
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

Network = TypeVar("Network", bound=nn.Module)

# Compiled variants of a block: its shapes, in training and with and without gradients.
MOST_VARIANTS = 64
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from malloc.h


@dataclass(frozen=True)
class Execution:
    """How a network is computed.

    Attributes:
        device: The device.
        autocast: The context that sets the precision; disabled for fp32 and tf32.
        channels_last: Whether maps and weights have channels-last memory format.
        graph: Whether iterations are captured as a CUDA graph and replayed.
        compiled: Whether blocks are compiled, each shape once.
        recompute: Number of blocks per recomputed segment (activation checkpointing), or None.
        accumulate: Whether batch-norm groups are computed one after the other.
        kernels: The implementation of batch norm with what follows it; None for plain torch.
        decodes: Whether the GPU decodes photographs.
    """

    device: torch.device
    autocast: torch.autocast
    channels_last: bool = False
    graph: bool = False
    compiled: bool = False
    recompute: int | None = None
    accumulate: bool = False
    kernels: Kernels | None = None
    decodes: bool = False

    def prepare(self, model: Network) -> Network:
        """Move a network to the device, and set its memory format and compilation."""
        model = model.to(self.device)
        if isinstance(model, ResNet):
            model.segment = self.recompute
        for module in model.modules():
            if isinstance(module, BatchNorm):
                module.kernels = self.kernels
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        if self.compiled:
            # Per block: all blocks of a shape share compiled code, so 1202 layers compile about as
            # fast as 20.
            torch._dynamo.config.recompile_limit = MOST_VARIANTS
            for block in model.blocks() if isinstance(model, ResNet) else [model]:
                block.compile(dynamic=False)
        return model

    def uncompiled(self) -> AbstractContextManager[Any]:
        """Return a context in which compiled blocks run eagerly, for tests of a network."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()

    def to_memory_format(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) in the memory format; copied only if they differ in it."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=layout)

    def describe(self) -> str:
        """Name the options in use, for a record."""
        options = {
            "channels_last": self.channels_last,
            "graph": self.graph,
            "compile": self.compiled,
            f"recompute {self.recompute}": self.recompute is not None,
            "accumulate": self.accumulate,
            "decode cuda": self.decodes,
        }
        if self.kernels:
            options[self.kernels.name] = True
        return " ".join(name for name, taken in options.items() if taken) or "eager"


def choose_execution(config: RunConfig, group: Group = SINGLE_PROCESS) -> Execution:
    """Return how to compute a run: as set in its settings, else the fastest that works here.

    It sets up torch for that run, where torch has a setting once per process.

    | device             | memory format                 | batch norm | CUDA graph |
    |--------------------|-------------------------------|------------|------------|
    | CPU                | channels last                 | C++        | no         |
    | CPU that lacks bf16| contiguous for bf16           | torch      | no         |
    | CUDA, one process  | channels last for bf16, tf32  | Triton     | yes        |
    | CUDA, several      | channels last for bf16, tf32  | Triton     | no         |

    Before a long run on a CPU, a timing sets `compute.channels_last` in place of the table's rule:
    `cost.layout`.

    All CUDA graphs of a process share one seed in device memory, so a network that draws random
    numbers in training is not captured: another run would change its numbers.

    `resnet-repro bench` measures the gain of each option.

    Raises:
        UserError: This machine lacks the device, the precision or an option that is set.
    """
    compute, precision = config.compute, config.recipe.precision
    if config.detector.is_used:  # these work on the blocks of a classifier
        compute = replace(compute, compile=False, recompute=None)
    device = choose_device(compute, group)
    set_up_device(compute, device, group)
    autocast = choose_precision(precision, device)
    channels_last = compute.channels_last
    if channels_last is None:
        fast = {"cpu": precision == "fp32" or has_bf16(), "cuda": precision != "fp32"}
        channels_last = fast.get(device.type, False)
    if compute.graph and config.detector.is_used:
        raise UserError(
            "compute.graph=true is for classifiers: a detector's photographs differ in size; "
            "set compute.graph=null"
        )
    can_capture = device.type == "cuda" and group.size == 1
    can_capture = can_capture and not draws_numbers(config.model) and not config.detector.is_used
    if compute.graph and not can_capture:
        raise UserError(
            "compute.graph=true needs a single process, a CUDA GPU and a network without dropout; "
            "set compute.graph=null"
        )
    if config.decodes_on_gpu and device.type != "cuda":
        raise UserError(
            f"compute.decode=cuda needs a CUDA GPU, and compute.device={compute.device} is "
            f"{device.type} here; set compute.decode=cpu"
        )
    if compute.compile:
        _try_compiler(device)
    if device.type == "cpu":
        keep_freed_memory()
    # Photographs with boxes differ in size, and each size would be timed.
    torch.backends.cudnn.benchmark = not (compute.deterministic or config.detector.is_used)
    return Execution(
        device,
        autocast,
        channels_last,
        graph=can_capture if compute.graph is None else compute.graph,
        compiled=compute.compile,
        recompute=compute.recompute,
        accumulate=accumulates(config, device, group),
        kernels=_choose_kernels(compute, device, channels_last),
        decodes=config.decodes_on_gpu,
    )


def _choose_kernels(
    compute: ComputeConfig, device: torch.device, channels_last: bool
) -> Kernels | None:
    """Return the implementation of batch norm: as set, else a fast one if it works here."""
    reason, found = None, None
    if compute.compile:
        reason = "not together with compute.compile=true"
    elif device.type == "cpu" and not channels_last:
        reason = "on a CPU it needs compute.channels_last=true"
    elif compute.fused is not False:
        try:
            found = find_kernels(device)
        except KernelsError as error:
            reason = str(error)
            if not compute.fused:
                _warn_once(f"batch norm is computed by plain torch, which is slower: {reason}")
    if compute.fused and found is None:
        reason = reason or f"there are no kernels for {device.type}"
        raise UserError(f"compute.fused=true: {reason}; set compute.fused=null")
    return found


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def draws_numbers(model: Model) -> bool:
    """Return whether a network draws random numbers in training."""
    if isinstance(model, ExternalModelConfig):
        return check_external(model).draws_numbers
    return model.has_dropout


def choose_precision(precision: str, device: torch.device) -> torch.autocast:
    """Set the precision and return its context: autocast for `bf16`, else a disabled one.

    Raises:
        UserError: The device does not have that precision.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UserError(
            f"recipe.precision=tf32 needs a CUDA GPU; on {device.type} use fp32 or bf16"
        )
    if precision != "fp32" and device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:
            name = torch.cuda.get_device_name(device)
            raise UserError(
                f"recipe.precision={precision}: {name} (compute capability {major}.{minor}) lacks "
                f"it (8.0 or newer has it); set recipe.precision=fp32"
            )
    if precision == "bf16" and device.type == "cpu" and not has_bf16():
        logger.warning("this CPU has no bf16 arithmetic: recipe.precision=fp32 is much faster")
    use_tf32(precision)
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def use_tf32(precision: str) -> None:
    """Set what torch has once per process of a precision."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


@contextmanager
def kept_precision() -> Iterator[None]:
    """Restore what `choose_precision` sets, after another network was computed in its own."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def available_precisions(device: torch.device) -> list[str]:
    """Return the precisions that a device supports in hardware, fp32 first."""
    if device.type == "cuda":
        new = torch.cuda.get_device_capability(device)[0] >= 8
        return ["fp32", "tf32", "bf16"] if new else ["fp32"]
    return ["fp32", "bf16"] if device.type == "cpu" and has_bf16() else ["fp32"]


def _try_compiler(device: torch.device) -> None:
    """Compile something small, so that a missing compiler is reported early and in one line."""
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.ones(8, device=device))
    except Exception as error:  # a missing or broken compiler raises many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"compute.compile=true: torch.compile does not work here ({reason}); install a "
            f"compiler (C++ for a CPU, Triton for a GPU), or set compute.compile=false"
        ) from error


def keep_freed_memory() -> None:
    """Make the C library keep the memory of freed activations for the next iteration.

    By default glibc returns blocks of this size to the system each time, which zeroes them again: a
    tenth of the CPU time of ResNet-20. Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Older versions allow 32 MiB at most. Where neither is taken, a trim threshold would only end
    # glibc's own adaptation.
    if mallopt and (mallopt(M_MMAP_THRESHOLD, 1 << 30) or mallopt(M_MMAP_THRESHOLD, 1 << 25)):
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def return_freed_memory() -> None:
    """Return to the system the memory that `keep_freed_memory` kept."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
