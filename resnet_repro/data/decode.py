"""Decoding of image files to RGB in uint8.

TorchCodec decodes JPEG in about two thirds of Pillow's time, and to the same pixels: both use
libjpeg-turbo. Pillow decodes everything else, and JPEG if TorchCodec is not installed.

    16-bit grey                     scaled to 8 bits, 65535 to 255; Pillow itself would clip at 255
    16-bit colours                  their upper 8 bits
    transparency                    on white
    CMYK, YCbCr, LAB, palettes      as Pillow converts them, without the file's colour profile
    32-bit integers, floats         unreadable: the value of white is unknown
    several frames or pages         the first one
    EXIF's rotation                 ignored, as in the reference pipelines
"""

import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from resnet_repro.data.jpeg import without_exif
from resnet_repro.errors import UserError

try:
    from torchcodec.decoders import decode_jpeg as decode_jpeg  # also for `gpu_decode`
except Exception:  # it raises several kinds if its version does not fit torch's
    decode_jpeg = None

REMEDY = (
    "Fix or remove the file, or set data.skip_unreadable=true to skip such files (the count is "
    "recorded)."
)
# Errors of a file itself: it is missing, or may not be read; Pillow's own have no number.
OF_THE_FILE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM)
# TIFF's tags, which Pillow does not apply to pixels of more than 8 bits.
BITS, POLARITY, WHITE_IS_ZERO = 258, 262, 0

Content = TypeVar("Content")


class UnavailableError(UserError):
    """The machine does not give a file that may be there: its disk, or too many open files."""


class UnreadableImage(Exception):  # noqa: N818 - the name that messages use
    """A file is not an image, is damaged, or cannot be converted to 8 bits."""


def read_image(path: Path) -> Tensor:
    """Return an image, (3, H, W) uint8.

    Raises:
        UnreadableImage: The file is missing, damaged or not an image.
    """
    return read_file(path, decode)


def read_file(path: Path, take: Callable[[bytes], Content]) -> Content:
    """Return what a function takes of a file's content.

    Raises:
        UnreadableImage: The file is missing, or the function failed: it is not an image.
        UnavailableError: The disk failed, or another part of the machine: the file may be right.
        MemoryError: Memory is short.
    """
    try:
        if not path.is_file():  # reading a pipe would block
            raise FileNotFoundError("there is no such file")
        return take(path.read_bytes())
    except UnidentifiedImageError as error:  # its message has an address that varies
        raise UnreadableImage(f"{path} cannot be read as an image: unknown format") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises half a dozen kinds on damaged files
        if isinstance(error, OSError) and error.errno not in OF_THE_FILE:
            raise UnavailableError(
                f"{path} cannot be read now ({error.strerror}): run the same command again when it "
                f"can be"
            ) from error
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
        reason = reason or type(error).__name__
        raise UnreadableImage(f"{path} cannot be read as an image: {reason}") from error


def decode(content: bytes) -> Tensor:
    """Decode a file's content to (3, H, W) uint8; grey becomes three equal channels.

    Raises:
        Exception: Of any kind, if the content cannot be decoded.
    """
    unrotated = without_exif(content) if decode_jpeg is not None else None
    if unrotated is not None:
        try:
            pixels: Tensor = decode_jpeg(torch.frombuffer(unrotated, dtype=torch.uint8), mode="RGB")
        except RuntimeError:
            pass  # Pillow's message is clearer
        else:
            return pixels
    with Image.open(io.BytesIO(content)) as image:
        rgb = np.array(_to_rgb(image))
    return torch.from_numpy(rgb).permute(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = _to_8_bits(image)
    elif image.mode in ("I", "F"):
        raise UnreadableImage(
            "its pixels are 32-bit integers or floats, whose range is unknown; convert it to 8 or "
            "16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    white = 2 ** tags.get(BITS, (16,))[0] - 1
    values = np.asarray(image).astype(np.uint32)
    if tags.get(POLARITY) == WHITE_IS_ZERO:
        values = white - values
    return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
