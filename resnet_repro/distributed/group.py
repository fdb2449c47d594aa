"""Several processes that train one network together: who is who, sums, agreement.

Alone, a `Group` of one, everything here leaves its argument as it is.
"""

import logging
import socket
import threading
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from resnet_repro.errors import UserError

logger = logging.getLogger("resnet_repro")

T = TypeVar("T")
WARN_SECONDS = 5.0
TIMEOUT_SECONDS = 300  # processes that are started together do not begin minutes apart


class Flag(Protocol):
    """What the process that started us sets to have us stop: a `multiprocessing.Event`."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Group:
    """This process among those that train one network.

    Attributes:
        rank: Number of this process, from 0; 0 writes and speaks for all.
        size: Number of processes.
        local_rank: Number of this process on its machine: its GPU.
        local_size: Number of processes that share this machine's cores.
        stop: Set by the process that started us to have us stop; None where signals reach us.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    stop: Flag | None = field(default=None, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes, in place; counts that were floats stay exact."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_any(self, *flags: bool) -> list[bool]:
        """Return, for each flag, whether any process has it set: all go the same way then."""
        if self.size == 1:
            return list(flags)
        each = torch.tensor(flags, dtype=torch.int32)  # on the CPU: waits for no GPU
        dist.all_reduce(each, dist.ReduceOp.MAX)
        return [bool(flag) for flag in each.tolist()]

    def broadcast(self, value: T) -> T:
        """Return process 0's value in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def all_gather_union(self, names: set[str]) -> set[str]:
        """Return what any process has."""
        if self.size == 1:
            return names
        each: list[set[str]] = [set() for _ in range(self.size)]
        dist.all_gather_object(each, names)
        return set().union(*each)

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the network with gradients averaged over the processes.

        Batch-norm averages stay each process's own: `average_buffers` brings them together.
        """
        if self.size == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        with warnings.catch_warnings():
            # The name that replaces `broadcast_buffers` is not known to torch 2.11.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def all_reduce_mean(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, all in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        mean = self.all_reduce_sum(flat) / self.size
        parts = torch.split(mean, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


SINGLE_PROCESS = Group()


def without_sync(model: nn.Module, wanted: bool) -> AbstractContextManager[None]:
    """Return the context in which gradients are gathered here, not yet averaged."""
    if wanted and isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def join(group: Group, address: str, port: int) -> None:
    """Connect to the other processes; say whom this one waits for, where that takes long.

    Raises:
        UserError: They did not come.
    """
    num_gpus = torch.cuda.device_count()
    backend = "cpu:gloo,cuda:nccl" if num_gpus else "gloo"
    if num_gpus:
        torch.cuda.set_device(group.local_rank % num_gpus)
    try:
        dist.init_process_group(
            backend, store=_connect(group, address, port), rank=group.rank, world_size=group.size
        )
    except (dist.DistError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"process {group.rank} of {group.size} could not connect to the others at "
            f"{address}:{port}: {str(error).splitlines()[0]}"
        ) from error


def _connect(group: Group, address: str, port: int) -> Store:
    """Return the store of process 0, once all processes have it.

    In a thread, because Python does not see signals while torch waits.
    """
    found: list[Store | Exception] = []

    def connect() -> None:
        try:
            if not group.is_main:
                _wait_for_listener(address, port)
            store, _, _ = next(
                rendezvous(
                    f"tcp://{address}:{port}",
                    group.rank,
                    group.size,
                    timeout=timedelta(seconds=TIMEOUT_SECONDS),
                )
            )
            found.append(store)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(WARN_SECONDS)
    if thread.is_alive():
        others = f"the other {group.size - 1}" if group.size > 2 else "the other one"
        logger.warning(
            "process %d of %d waits for %s at %s:%d, for %d s at most",
            *(group.rank, group.size, others if group.is_main else "process 0", address, port),
            TIMEOUT_SECONDS,
        )
        thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _wait_for_listener(address: str, port: int) -> None:
    """Wait until process 0 listens: torch, which would wait too, prints pages meanwhile.

    Raises:
        OSError: It did not come.
    """
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            socket.create_connection((address, port), timeout=WARN_SECONDS).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
        time.sleep(0.1)


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
