"""CUDA streams that are used again.

torch has 32 of them per device and then hands out the first again: two runs on one stream would
wait for each other. And each stream that was used keeps memory for cuBLAS until the process ends.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_free: defaultdict[int, list[torch.cuda.Stream]] = defaultdict(list)  # by device


def take_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Return a stream that nothing else uses; None if the device is not a CUDA GPU."""
    if device.type != "cuda":
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    return _free[index].pop() if _free[index] else torch.cuda.Stream(index)  # type: ignore[no-untyped-call]


def return_stream(stream: torch.cuda.Stream | None) -> None:
    """Return a stream that is not used any more."""
    if stream is not None:
        _free[stream.device_index].append(stream)


@contextmanager
def capture_stream(device: torch.device, wanted: bool) -> Iterator[torch.cuda.Stream | None]:
    """Yield the stream for all CUDA graphs of a run; None if none are wanted.

    It is the current stream, unless that is the default one, which cannot be captured.
    """
    current = torch.cuda.current_stream(device) if wanted else None
    if current is None or current != torch.cuda.default_stream(device):
        yield current
        return
    stream = take_stream(device)
    try:
        yield stream
    finally:
        return_stream(stream)
