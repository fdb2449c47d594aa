"""Decoding of JPEGs by a GPU, with TorchCodec's nvJPEG (`compute.decode=cuda`).

Workers read files only; the views are taken on the GPU too. Sizes are in a JPEG's header, so the
views are those of a CPU. Their pixels are not: nvJPEG repeats the colours of a subsampled JPEG,
where libjpeg-turbo interpolates them, so that pixels differ visibly at the edges of colours; a GPU
resizes in floating point, which differs by rounding.

The CPU decodes what the two might read as different pictures (CMYK, RGB, lossless or cut JPEGs, and
other formats), and what nvJPEG refuses.
"""

import io
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor

from resnet_repro.data.decode import decode, decode_jpeg, read_file
from resnet_repro.data.jpeg import size_if_standard, without_exif
from resnet_repro.errors import UserError

TOGETHER = 64  # photographs in the GPU's memory at once, in full size

Decoder = Callable[[list[Tensor]], list[Tensor]]
Item = TypeVar("Item")
Made = TypeVar("Made")


class Photograph(NamedTuple):
    """A photograph as a worker passes it on.

    Attributes:
        content: (bytes,), a JPEG for the GPU; or (3, H, W), pixels that the CPU decoded; uint8.
        height, width: The photograph's size, in pixels.
    """

    content: Tensor
    height: int
    width: int


def read_source(path: Path) -> Photograph:
    """Return a photograph for the GPU.

    Raises:
        UnreadableImage: The file is missing, or the CPU is to decode it and cannot.
    """
    return read_file(path, to_source)


def to_source(content: bytes) -> Photograph:
    """Return a file's content as it is for the GPU, else decoded.

    Raises:
        Exception: Of any kind, if the CPU is to decode it and cannot.
    """
    size, jpeg = size_if_standard(content), without_exif(content)
    if size is None or jpeg is None:
        image = decode(content)
        return Photograph(image, image.shape[1], image.shape[2])
    return Photograph(torch.frombuffer(jpeg, dtype=torch.uint8), *size)


def gpu_decoder(device: torch.device) -> Decoder:
    """Return the function that decodes JPEGs, (bytes,) uint8, to (3, H, W) uint8 on a CUDA device.

    It raises a RuntimeError if it cannot decode one of them.

    Raises:
        UserError: TorchCodec is not installed, or cannot use the GPU.
    """
    small = io.BytesIO()
    Image.new("RGB", (16, 16)).save(small, "JPEG")
    try:
        if decode_jpeg is None:
            raise ImportError("it is not installed, or does not fit this version of torch")
        decoder: Decoder = partial(decode_jpeg, mode="RGB", device=device)
        decoder([torch.frombuffer(bytearray(small.getvalue()), dtype=torch.uint8)])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a build without CUDA, or for another one, raises many kinds
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        reason = re.sub(r"^\w+, \S+:\d+, ", "", reason)  # where in TorchCodec's own code
        raise UserError(
            f"compute.decode=cuda: TorchCodec cannot decode on this GPU ({reason}); install a "
            f"torchcodec of at least 0.16 built for this torch and CUDA, or set compute.decode=cpu"
        ) from error
    return decoder


def decode_all(
    decoder: Decoder, contents: Sequence[Tensor], device: torch.device
) -> Iterator[Tensor | None]:
    """Yield images, (3, H, W) uint8 on the device; None for a JPEG that the decoder refuses.

    Args:
        decoder: The function that decodes JPEGs.
        contents: `Photograph.content` of each image.
        device: The device.
    """
    for first in range(0, len(contents), TOGETHER):
        part = contents[first : first + TOGETHER]
        decoded = iter(_accepted(decoder, [each for each in part if each.dim() == 1]))
        for each in part:
            yield next(decoded) if each.dim() == 1 else each.to(device, non_blocking=True)


def _accepted(decoder: Decoder, jpegs: list[Tensor]) -> Sequence[Tensor | None]:
    """Decode JPEGs; None for each one that is refused, found by halving: it fails all together."""
    if not jpegs:
        return []
    try:
        return decoder(jpegs)
    except RuntimeError as error:
        if len(jpegs) == 1 and isinstance(error, torch.OutOfMemoryError):
            raise  # the CPU would decode it to other pixels
        if len(jpegs) == 1:
            return [None]
    half = len(jpegs) // 2
    return [*_accepted(decoder, jpegs[:half]), *_accepted(decoder, jpegs[half:])]


def _use_device_of(stream: "torch.cuda.Stream | None") -> None:
    """Make a stream's GPU the current one of this thread: else it would go back to GPU 0."""
    if stream is not None:
        torch.cuda.set_device(stream.device)


def one_ahead(
    items: Iterable[Item], work: Callable[[Item], Made], stream: "torch.cuda.Stream | None"
) -> Generator[Made, None, None]:
    """Yield what is made of each item, in order, while a thread makes the next one.

    The decoder waits for its stream: on the stream of training it would wait for the network.

    Args:
        items: The items.
        work: The function of an item; it runs in the thread.
        stream: The stream that it uses, finished when its value is yielded; None without a GPU.
    """

    def do(item: Item) -> Made:
        with torch.cuda.stream(stream):
            made = work(item)
        if stream is not None:
            stream.synchronize()
        return made

    def of(future: "Future[Made]") -> Made:
        try:
            return future.result()
        finally:
            del future  # its error refers to this frame, which holds the batch

    with ThreadPoolExecutor(1, initializer=_use_device_of, initargs=(stream,)) as pool:
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(pool.submit(do, item))
            if len(waiting) > 1:
                yield of(waiting.popleft())
        while waiting:
            yield of(waiting.popleft())
