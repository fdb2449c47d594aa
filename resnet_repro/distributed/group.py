"""The process group that trains one network: ranks and collective operations.

In a `Group` of one, every collective operation returns its argument.
"""

import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
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
TIMEOUT_SECONDS = 300  # processes of one launch start within seconds of each other
INTERFACES = (
    "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network interface that connects the nodes"
)
ON_NODES = f"\nMASTER_ADDR must be an address of rank 0's node for all nodes; or {INTERFACES}"


class Flag(Protocol):
    """A `multiprocessing.Event` that the parent process sets to stop its workers."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Group:
    """This process's place in the process group that trains one network.

    Attributes:
        rank: Rank of this process, from 0; only rank 0 writes files and logs.
        size: Number of processes.
        local_rank: Rank of this process on its machine, which selects its GPU.
        local_size: Number of processes on this machine, which share its cores.
        stop: Set by the parent process to stop this one; None if this process handles signals.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    stop: Flag | None = field(default=None, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes in place and return it; counts in floats stay exact."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_any(self, *flags: bool) -> list[bool]:
        """Return, for each flag, whether any process set it, so that all processes agree."""
        return self.start_any(*flags)()

    def start_any(self, *flags: bool) -> Callable[[], list[bool]]:
        """Start `all_reduce_any` and return; the function waits for its result and returns it."""
        if self.size == 1:
            return lambda: list(flags)
        each = torch.tensor(flags, dtype=torch.int32)  # on the CPU, to avoid a GPU synchronization
        work = dist.all_reduce(each, dist.ReduceOp.MAX, async_op=True)

        def result() -> list[bool]:
            assert work is not None, "every process is in the group"
            work.wait()
            return [bool(flag) for flag in each.tolist()]

        return result

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, which have one shape, by rank."""
        if self.size == 1:
            return [tensor]
        every = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(every, tensor)
        return every

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank; any that can be pickled."""
        if self.size == 1:
            return [value]
        every = [value] * self.size
        dist.all_gather_object(every, value)
        return every

    def broadcast(self, value: T) -> T:
        """Return rank 0's value in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def all_gather_union(self, names: set[str]) -> set[str]:
        """Return the union of the sets of all processes."""
        return set[str]().union(*self.gather(names))

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the network, wrapped to average gradients over the processes.

        Batch-norm averages stay local to each process.
        """
        if self.size == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        with warnings.catch_warnings():
            # torch 2.11 does not know the name that replaces `broadcast_buffers`.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def all_reduce_mean(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, with one all-reduce for all."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        mean = self.all_reduce_sum(flat) / self.size
        parts = torch.split(mean, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


SINGLE_PROCESS = Group()


def without_sync(model: nn.Module, wanted: bool) -> AbstractContextManager[None]:
    """Return a context that accumulates gradients without averaging them over processes."""
    if wanted and isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def join(group: Group, address: str, port: int, *, on_gpus: bool = True) -> None:
    """Join the process group; log which processes are awaited if that takes long.

    Args:
        group: This process's place in it.
        address: The host of rank 0.
        port: The TCP port of rank 0.
        on_gpus: Whether the group also exchanges tensors on GPUs, if there are any.

    Raises:
        UserError: The other processes did not connect.
    """
    num_gpus = torch.cuda.device_count() if on_gpus else 0
    on_several_nodes = group.size > group.local_size
    if on_several_nodes and group.local_rank == 0:
        _warn_of_loopback()
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
            f"{address}:{port}: {str(error).splitlines()[0]}{ON_NODES if on_several_nodes else ''}"
        ) from error


def _warn_of_loopback() -> None:
    """Warn if this node's name is an address of its own only, as Debian's installer sets it.

    gloo listens at the address of the node's name, unless it is given an interface.
    """
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    name, address = socket.gethostname(), ""
    with suppress(OSError):
        address = socket.gethostbyname(name)
    if address.startswith("127."):
        logger.warning(
            "%s has the address %s on this node, at which no other node finds it: %s",
            *(name, address, INTERFACES),
        )


def _connect(group: Group, address: str, port: int) -> Store:
    """Return rank 0's store once all processes are connected to it.

    Runs in a thread, because Python does not handle signals while torch waits.
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
            "process %d of %d is waiting for %s at %s:%d, for at most %d s",
            *(group.rank, group.size, others if group.is_main else "process 0", address, port),
            TIMEOUT_SECONDS,
        )
        thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _wait_for_listener(address: str, port: int) -> None:
    """Wait until rank 0 listens; torch would wait too, but logs pages of errors meanwhile.

    Raises:
        OSError: Rank 0 did not start listening in time.
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
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def free_port() -> int:
    """Return a free TCP port of this machine."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
