"""The detections of a detector on a whole test set, as arrays."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnet_repro.errors import UserError
from resnet_repro.files import write_atomically


@dataclass(frozen=True)
class Detections:
    """M detections, on the CPU.

    Attributes:
        images: (M,), int64: positions in the test set.
        boxes: (M, 4), float32, x1 y1 x2 y2 in pixels of the photograph, with an exclusive end.
        scores: (M,), float32.
        classes: (M,), int64, 0 to K - 1.
    """

    images: Tensor
    boxes: Tensor
    scores: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: Tensor) -> "Detections":
        """Return those at positions (m,), or those that are true in (M,)."""
        return Detections(*(getattr(self, item.name)[which] for item in fields(self)))

    def sorted(self) -> "Detections":
        """Return them by falling score; equal ones by photograph, class and their order here.

        Scores depend on the order of equal ones, which so is that of one process for any number.
        """
        order = np.lexsort((self.classes.numpy(), self.images.numpy(), -self.scores.numpy()))
        return self.take(torch.from_numpy(order))

    @staticmethod
    def concatenate(parts: "Sequence[Detections]") -> "Detections":
        """Join detections, at least one part."""
        return Detections(
            *(
                torch.cat([getattr(part, item.name) for part in parts])
                for item in fields(Detections)
            )
        )

    def checksum(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of all of them, in order."""
        digest = hashlib.sha256()
        for item in fields(self):
            digest.update(getattr(self, item.name).numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write them to an .npz file, atomically."""
        buffer = io.BytesIO()
        arrays = {item.name: getattr(self, item.name).numpy() for item in fields(self)}
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomically(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> "Detections":
        """Read them.

        Raises:
            UserError: The file is missing, damaged or something else.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                found = [torch.from_numpy(arrays[item.name]) for item in fields(Detections)]
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} has no detections that can be read: {error}") from error
        return Detections(*found)
