"""The process group that trains one network: ranks and collective operations.

In a `Group` of one, every collective operation returns its argument.
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


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
            made = DistributedDataParallel(
                model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        if self.size > 2 and (device.type == "cpu" or torch.are_deterministic_algorithms_enabled()):
            made.register_comm_hook(self.size, _mean_in_order)
        return made

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


def _mean_in_order(
    size: int,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    """Start to average gradients over the processes, added in the order of ranks.

    An all-reduce adds them in an order that depends on where they lie in the bucket, and torch lays
    them out anew after its first iteration: a resumed run of three or more would have other bits.
    """
    every = [torch.empty_like(bucket.buffer()) for _ in range(size)]
    work = dist.all_gather(every, bucket.buffer(), async_op=True)
    assert work is not None, "every process is in the group"

    def mean(_: object) -> Tensor:
        total = every[0]
        for each in every:
            if each.is_cuda:  # else its memory could be used again before it is added
                each.record_stream(torch.cuda.current_stream(each.device))
        for each in every[1:]:
            total += each
        return total.div_(size)

    return work.get_future().then(mean)


def without_sync(model: nn.Module, wanted: bool) -> AbstractContextManager[None]:
    """Return a context that accumulates gradients without averaging them over processes."""
    if wanted and isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()
