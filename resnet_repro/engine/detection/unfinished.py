"""Tests that were stopped: what they found is kept, and the same test resumes from there."""

import hashlib
import io
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch

from resnet_repro.detection.detections import Detections
from resnet_repro.distributed.group import Group
from resnet_repro.files import write_atomically

EMPTY = Detections(
    torch.zeros(0, dtype=torch.int64),
    torch.zeros(0, 4),
    torch.zeros(0),
    torch.zeros(0, dtype=torch.int64),
)

Found = TypeVar("Found")
Arrays = Mapping[str, np.ndarray]


class UnfinishedTest(ABC, Generic[Found]):
    """What this process found in the photographs of a test, in a file.

    Args:
        folder: The folder of the file.
        name: The name of the test, as that of a file.
        group: The processes that share the test; each has a file of its own.
        what: All that the results depend on. A file of something else is not used.
        save_seconds: Seconds between two writings.
    """

    def __init__(
        self, folder: Path, name: str, group: Group, what: str, save_seconds: float
    ) -> None:
        self._folder, self._name = folder, name
        self._path = folder / f"unfinished-{group.rank}of{group.size}-{name}"
        self._what = np.frombuffer(_digest(what), dtype=np.uint8)
        self._seconds, self._saved = save_seconds, time.monotonic()

    @abstractmethod
    def _packed(self, found: dict[int, Found]) -> dict[str, np.ndarray]:
        """Return what was found as arrays, to save it."""

    @abstractmethod
    def _unpacked(self, arrays: Arrays) -> dict[int, Found]:
        """Return what was found from its arrays."""

    def load(self) -> dict[int, Found]:
        """Return what was found, by the positions of photographs; nothing if there is no file."""
        try:
            with np.load(io.BytesIO(self._path.read_bytes()), allow_pickle=False) as arrays:
                if not np.array_equal(arrays["what"], self._what):
                    return {}
                return self._unpacked(arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}  # damaged by a full disk: the test begins again

    def save_if_due(self, found: dict[int, Found]) -> None:
        """Write what was found, if the last writing was long ago."""
        if time.monotonic() - self._saved > self._seconds:
            self.save(found)

    def save(self, found: dict[int, Found]) -> None:
        """Write what was found, by the positions of photographs."""
        buffer = io.BytesIO()
        np.savez(buffer, what=self._what, **self._packed(found))  # type: ignore[arg-type]
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, buffer.getvalue())
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the files of all processes, and those of another number of processes."""
        for file in self._folder.glob(f"unfinished-*-{self._name}"):
            file.unlink(missing_ok=True)


class UnfinishedDetections(UnfinishedTest[Detections]):
    """The detections of this process in a test; arguments are those of `UnfinishedTest`."""

    def _packed(self, found: dict[int, Detections]) -> dict[str, np.ndarray]:
        joined = Detections.concatenate([EMPTY, *found.values()])
        return {
            "positions": np.array([*found], dtype=np.int64),
            "numbers": np.array([len(each) for each in found.values()], dtype=np.int64),
            "images": joined.images.numpy(),
            "boxes": joined.boxes.numpy(),
            "scores": joined.scores.numpy(),
            "classes": joined.classes.numpy(),
        }

    def _unpacked(self, arrays: Arrays) -> dict[int, Detections]:
        parts = [arrays[name] for name in ("images", "boxes", "scores", "classes")]
        positions, numbers = arrays["positions"].tolist(), arrays["numbers"].tolist()
        split = (torch.split(torch.from_numpy(part), numbers) for part in parts)
        found = (Detections(*of_photograph) for of_photograph in zip(*split, strict=True))
        return dict(zip(positions, found, strict=True))


def _digest(what: str) -> bytes:
    return hashlib.sha256(what.encode()).digest()
