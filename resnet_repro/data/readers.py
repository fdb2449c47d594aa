"""The processes that read photographs ahead, and how they hand them over."""

import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Generator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnet_repro.process import SIGNALS

logger = logging.getLogger("resnet_repro")

AHEAD = 2  # mini-batches that each worker prepares
STALL_SECONDS = 300  # a mini-batch takes a few seconds
SHARED = Path("/dev/shm")  # where Linux has shared memory
LEFT_FREE = 1 << 16  # of it, for what else is shared


class Batch(NamedTuple):
    """Some views, as a worker hands them over.

    Attributes:
        pixels: (B, 3, H, W) or (B, K, 3, H, W), uint8.
        numbers: (B,), labels or positions, int64.
        colours: (B, D), the numbers of each view's colours.
        unreadable: What was said of files that could not be read.
    """

    pixels: Tensor
    numbers: Tensor
    colours: Tensor
    unreadable: list[str]


TENSORS = ("pixels", "numbers", "colours")


def load(
    views: Dataset[Any],
    batches: Any,  # noqa: ANN401
    num_workers: int,
    *,
    pin: bool,
) -> Generator[Any, None, None]:
    """Yield the batches that workers prepare; the workers end when this is closed.

    It must be closed, also on the way of an error: workers ignore the signals by which an
    exiting process ends what is left of its children, so it would wait for them for ever.

    Args:
        views: Makes a `Batch`, or a list of them, of each of the `batches`.
        batches: What each consists of.
        num_workers: How many processes read; 0: this one.
        pin: Whether they are wanted in pinned memory.

    Raises:
        RuntimeError: A worker was killed, or none hands anything over: see `errors.shortage`.
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
        worker_init_fn=_ignore_signals if num_workers else None,
        # Also where we ourselves were spawned, and would spawn in turn, for seconds.
        multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
    )
    before = multiprocessing.active_children()
    iterator = iter(loader)
    workers = [each for each in multiprocessing.active_children() if each not in before]
    try:
        for each in iterator:
            yield _take(each)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # which hold the iterator
        raise
    finally:
        del iterator  # the last reference: it ends its workers
        for worker in workers:
            with suppress(ValueError):  # closed
                worker.kill()  # one that waits for a disk has not ended


def _hand_over(made: Any) -> Any:  # noqa: ANN401
    """Move a worker's tensors to shared memory; where it has no room, to NumPy: through a pipe.

    In a container /dev/shm often has 64 MB. What torch finds too large for it later is lost, in a
    thread that cannot say so.
    """
    if isinstance(made, list):
        return [_hand_over(each) for each in made]
    return made._replace(**{name: _shared(getattr(made, name)) for name in TENSORS})


def _shared(tensor: Tensor) -> Any:  # noqa: ANN401
    with suppress(OSError):  # elsewhere than on Linux
        free = os.statvfs(SHARED)
        if free.f_bavail * free.f_frsize < tensor.nbytes + LEFT_FREE:
            return tensor.numpy()
    try:
        return tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError:  # another process took the room, or there are too many open files
        return tensor.numpy()


def _take(handed: Any) -> Any:  # noqa: ANN401
    """Return what was handed over, as tensors."""
    if isinstance(handed, list):
        return [_take(each) for each in handed]
    given = {name: getattr(handed, name) for name in TENSORS}
    if not all(isinstance(each, Tensor) for each in given.values()):
        _warn_of_small_shared_memory()
    return handed._replace(**{name: torch.as_tensor(each) for name, each in given.items()})


@cache  # once
def _warn_of_small_shared_memory() -> None:
    logger.warning(
        "%s has no room for what compute.workers read, which takes a slower way, through pipes. "
        "In Docker, --shm-size=8g or --ipc=host gives it more",
        SHARED,
    )


def _ignore_signals(_: int) -> None:
    """Leave stopping to the training process: a terminal's Ctrl-C reaches workers too."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
