"""The worker processes that prefetch photographs, and how they pass them on."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import suppress
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnet_repro.data.decode import UnavailableError
from resnet_repro.errors import UserError
from resnet_repro.process import SIGNALS, signals_blocked, unblock_signals

logger = logging.getLogger("resnet_repro")

AHEAD = 2  # mini-batches that each worker prefetches
STALL_SECONDS = 300  # a mini-batch takes a few seconds
SHARED = Path("/dev/shm")  # Linux's shared memory
LEFT_FREE = 1 << 16  # bytes of it, for other uses
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent dies


class Batch(NamedTuple):
    """Views from a worker.

    Attributes:
        pixels: (B, 3, H, W) or (B, K, 3, H, W), uint8.
        numbers: (B,), labels or positions, int64.
        colours: (B, 9), the random numbers of each view's colour augmentation.
        unreadable: The messages about files that could not be read.
    """

    pixels: Tensor
    numbers: Tensor
    colours: Tensor
    unreadable: list[str]


class Files(NamedTuple):
    """Photographs from a worker, of which the device takes the views.

    Attributes:
        content: All `Photograph.content` one after the other, uint8: a tensor each would be a
            file each.
        shapes: The shape of each one's content.
        asked: What the worker was asked for: an index and a seed each, or a position.
        views: (B, 9), int64, the training views; empty in a test.
        numbers, colours, unreadable: As in `Batch`.
    """

    content: Tensor
    shapes: list[tuple[int, ...]]
    asked: list[Any]
    views: Tensor
    numbers: Tensor
    colours: Tensor
    unreadable: list[str]

    @classmethod
    def of(cls, contents: list[Tensor], asked: Sequence[Any], *rest: Any) -> "Files":  # noqa: ANN401
        """Join the contents of several photographs."""
        joined = torch.cat([torch.empty(0, dtype=torch.uint8), *(c.flatten() for c in contents)])
        return cls(joined, [tuple(each.shape) for each in contents], list(asked), *rest)

    def contents(self) -> list[Tensor]:
        """Return each one's `Photograph.content`."""
        parts = torch.split(self.content, [prod(shape) for shape in self.shapes])
        return [part.view(*shape) for part, shape in zip(parts, self.shapes, strict=True)]


def load(
    views: Dataset[Any],
    batches: Any,  # noqa: ANN401
    num_workers: int,
    *,
    pin: bool,
) -> Generator[Any, None, None]:
    """Yield the batches that workers prepare; the workers end when this is closed.

    It must be closed, also after an error: workers ignore the signals with which an exiting process
    ends its children, so that process would wait for them for ever.

    Args:
        views: The data set that makes a `Batch`, a list of them, or `Files` from each of the
            `batches`.
        batches: The description of each batch.
        num_workers: The number of worker processes; 0 reads in this process.
        pin: Whether to return batches in pinned memory.

    Raises:
        RuntimeError: A worker was killed, or all of them hang: see `errors.shortage`.
        UserError: The machine does not give a file.
    """
    loader = DataLoader(
        views,
        sampler=batches,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=AHEAD if num_workers else None,
        timeout=STALL_SECONDS if num_workers else 0,
        pin_memory=pin,
        collate_fn=_hand_over if num_workers else None,
        worker_init_fn=_depend_on_parent if num_workers else None,
        # Else it would draw from the generator that a network's dropout draws from.
        generator=torch.Generator(),
        # Set explicitly: a spawned process would spawn its workers too, which takes seconds.
        multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
    )
    before = multiprocessing.active_children()
    iterator, workers = None, []
    try:
        try:
            with signals_blocked():
                iterator = iter(loader)
        finally:  # also those that had started when another could not
            workers = [each for each in multiprocessing.active_children() if each not in before]
        for each in iterator:
            yield _take(each)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they refer to the iterator
        if _is_lost_connection(error):
            raise RuntimeError("DataLoader worker (pid unknown) died passing on a batch") from error
        if isinstance(error, UnavailableError):  # a worker's has its whole traceback as its text
            raise UserError(str(error).strip().split("UnavailableError: ")[-1]) from error
        raise
    finally:
        iterator = None  # the last reference: this ends its workers
        for worker in workers:
            with suppress(ValueError):  # already closed
                worker.kill()  # one that waits for a disk may still be running


def _is_lost_connection(error: BaseException) -> bool:
    """Return whether a worker died between announcing a batch and passing on its tensors.

    An error that a worker raised itself has torch's words "Caught ... in DataLoader worker".
    """
    if "Caught" in str(error):
        return False
    is_socket = isinstance(error, FileNotFoundError) and error.filename is None
    return is_socket or isinstance(error, ConnectionError | EOFError)


def _hand_over(made: Any) -> Any:  # noqa: ANN401
    """Move a worker's tensors to shared memory, or to NumPy (sent through a pipe) if it is full.

    In a container /dev/shm often has 64 MB. If torch runs out of it later, it does so in a thread
    that reports no error, and the batch is lost.
    """
    if isinstance(made, list):
        return [_hand_over(each) for each in made]
    tensors = {name: each for name, each in made._asdict().items() if isinstance(each, Tensor)}
    return made._replace(**{name: _shared(each) for name, each in tensors.items()})


def _shared(tensor: Tensor) -> Any:  # noqa: ANN401
    with suppress(OSError):  # not on Linux
        free = os.statvfs(SHARED)
        if free.f_bavail * free.f_frsize < tensor.nbytes + LEFT_FREE:
            return tensor.numpy()
    try:
        return tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError:  # another process used it up, or too many files are open
        return tensor.numpy()


def _take(handed: Any) -> Any:  # noqa: ANN401
    """Return what a worker passed on, as tensors."""
    if isinstance(handed, list):
        return [_take(each) for each in handed]
    arrays = {name: each for name, each in handed._asdict().items() if isinstance(each, np.ndarray)}
    if arrays:
        _warn_of_small_shared_memory()
    return handed._replace(**{name: torch.from_numpy(each) for name, each in arrays.items()})


@cache  # once
def _warn_of_small_shared_memory() -> None:
    logger.warning(
        "%s is too small for the batches of compute.workers, so they use pipes, which are slower. "
        "In Docker, enlarge it with --shm-size=8g or --ipc=host",
        SHARED,
    )


def _depend_on_parent(_: int) -> None:
    """Leave stopping to the training process: Ctrl-C in a terminal reaches workers too.

    Where that process is killed, so is the worker: it has inherited the lock of the run, and may
    wait for ever to pass on a batch.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent and os.getppid() != parent.pid:  # it died before that
            os.kill(os.getpid(), signal.SIGKILL)
    unblock_signals()
