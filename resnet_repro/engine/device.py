"""The device of a run, and its number of threads and processes."""

import logging
import os
import re
from contextlib import suppress

import torch

from resnet_repro.data.feed import batch_slice
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.distributed.started import cores_per_process
from resnet_repro.errors import UserError
from resnet_repro.machine import busy_cores, busy_text, free_cores, num_cores
from resnet_repro.models.external import check_external
from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.external_model import ExternalModelConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

MOST_THREADS = torch.get_num_threads()  # torch's default, before a run changes it


def choose_device(compute: ComputeConfig, group: Group = SINGLE_PROCESS) -> torch.device:
    """Return the configured device; `auto` is cuda, else mps, else cpu.

    Processes of one run take the GPUs in order; on MPS there cannot be several.

    Raises:
        UserError: This machine has no such device.
    """
    several = group.size > 1 or (compute.processes or 1) > 1
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    there["mps"] &= not several
    name = compute.device
    if name == "auto":
        name = next((each for each, found in there.items() if found), "cpu")
    device = torch.device(name)
    if group.size > 1 and device.type == "cuda" and there["cuda"]:
        # If each process sees one GPU only, all these GPUs have the number 0.
        return torch.device("cuda", group.local_rank % torch.cuda.device_count())
    if not there.get(device.type, True) or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise UserError(
            f"compute.device={compute.device}: not available "
            f"{'for several processes' if name == 'mps' and several else 'on this machine'}; use "
            f"auto or cpu"
        )
    return device


def set_up_device(
    compute: ComputeConfig, device: torch.device, group: Group = SINGLE_PROCESS
) -> None:
    """Set what torch has once per process: threads, reproducible algorithms, the current GPU."""
    torch.set_num_threads(num_threads(compute, group))
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(compute.deterministic)
    if group.size == 1 and device.index is not None:
        torch.cuda.set_device(device)  # for streams and graphs


def num_threads(compute: ComputeConfig, group: Group = SINGLE_PROCESS) -> int:
    """Return a run's number of CPU threads: as set, or its share of the cores."""
    if compute.threads is not None:
        return compute.threads
    cores = cores_per_process(group.local_size)
    if group.local_size > 1:
        return cores
    return threads_asked() or min(MOST_THREADS, cores)  # torch ignores a container's quota


def free_threads(number: int = 1) -> int:
    """Return the number of CPU threads for each of the runs that start now, from the free cores.

    Threads wait for each other in each layer: if another program keeps one of two cores busy, two
    threads reach a fifth of the speed of an idle machine, and one thread three fifths.

    Args:
        number: The number of runs that start side by side.
    """
    asked = threads_asked()
    if asked is not None:
        return asked if number == 1 else max(1, min(asked, num_cores() // number))
    busy = busy_cores()
    most = max(1, min(MOST_THREADS, num_cores()) // number)
    threads = max(1, min(most, free_cores(busy) // number))
    if threads < most:
        each = " each" if number > 1 else ""
        logger.info(
            "%s: training with %d thread%s%s; compute.threads=%d uses all cores",
            *(busy_text(busy), threads, "" if threads == 1 else "s", each, most),
        )
    return threads


def threads_asked() -> int | None:
    """Return the number of threads set in the environment, as OpenMP and MKL read it."""
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        number = re.match(r"\s*\d+", os.environ.get(name, ""))
        if number and int(number[0]):
            return int(number[0])
    return None


def num_processes(config: RunConfig) -> int:
    """Return the number of processes that train a run.

    By default, photographs use as many visible GPUs as a mini-batch can be divided over, and images
    in memory one process: several such runs side by side use several GPUs better.

    Raises:
        UserError: `compute.processes` does not fit the recipe or the machine.
    """
    compute = config.compute
    num_gpus = torch.cuda.device_count() if compute.device in ("auto", "cuda") else 0
    if compute.processes is None:
        most = num_gpus if config.data.is_streamed else 1
        return most_processes(config, most)
    if 0 < num_gpus < compute.processes:
        raise UserError(
            f"compute.processes={compute.processes}: this machine has {num_gpus} visible GPUs; "
            f"set at most {num_gpus}, or compute.device=cpu"
        )
    check_share(config, compute.processes)
    return compute.processes


def most_processes(config: RunConfig, most: int) -> int:
    """Return the largest number of processes, up to `most`, that can share a run's mini-batch."""
    for number in range(most, 1, -1):
        with suppress(UserError):
            check_share(config, number)
            return number
    return 1


def check_share(config: RunConfig, number: int) -> None:
    """Check that a number of processes can train a run, with the result of one.

    Raises:
        UserError: They cannot share its mini-batches, or batch norm would have other statistics.
    """
    batch_slice(config.recipe, Group(size=number))
    if number == 1 or config.recipe.bn_batch is not None or config.detector.is_used:
        return  # batch norm of detectors is fixed
    if isinstance(config.model, ExternalModelConfig):
        has_batch_norm = check_external(config.model).has_batch_norm
    else:
        has_batch_norm = config.model.name != "vgg16"
    if has_batch_norm:
        raise UserError(
            f"recipe.bn_batch=null: all {config.recipe.batch_size} images of a mini-batch share "
            f"their batch-norm statistics, which {number} processes cannot: use one, or set "
            f"recipe.bn_batch to at most {config.recipe.batch_size // number} (the table notes it)"
        )


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """Return a GPU's name, or the type of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
