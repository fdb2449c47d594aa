"""A test of a detector that was stopped: what it found is kept, and the test goes on from there."""

import hashlib
import io
import time
import zipfile
from pathlib import Path

import numpy as np
import torch

from resnet_repro.detection.detections import Detections
from resnet_repro.files import write_atomically

EMPTY = Detections(
    torch.zeros(0, dtype=torch.int64),
    torch.zeros(0, 4),
    torch.zeros(0),
    torch.zeros(0, dtype=torch.int64),
)


class UnfinishedTest:
    """The detections of this process in a test, in a file.

    Args:
        path: The file.
        what: All that the detections depend on. A file of something else is not used.
        save_seconds: Seconds between two writings.
    """

    def __init__(self, path: Path, what: str, save_seconds: float) -> None:
        self._path, self._what = path, np.frombuffer(_digest(what), dtype=np.uint8)
        self._seconds, self._saved = save_seconds, time.monotonic()

    def load(self) -> dict[int, Detections]:
        """Return what was found, by the positions of photographs; nothing if there is no file."""
        try:
            with np.load(io.BytesIO(self._path.read_bytes()), allow_pickle=False) as arrays:
                if not np.array_equal(arrays["what"], self._what):
                    return {}
                parts = [arrays[name] for name in ("images", "boxes", "scores", "classes")]
                positions, numbers = arrays["positions"].tolist(), arrays["numbers"].tolist()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}  # damaged by a full disk: the test begins again
        split = (torch.split(torch.from_numpy(part), numbers) for part in parts)
        found = (Detections(*of_photograph) for of_photograph in zip(*split, strict=True))
        return dict(zip(positions, found, strict=True))

    def save_if_due(self, found: dict[int, Detections]) -> None:
        """Write what was found, if the last writing was long ago."""
        if time.monotonic() - self._saved > self._seconds:
            self.save(found)

    def save(self, found: dict[int, Detections]) -> None:
        """Write what was found, by the positions of photographs."""
        joined = Detections.concatenate([EMPTY, *found.values()])
        buffer = io.BytesIO()
        np.savez(
            buffer,
            what=self._what,
            positions=np.array([*found], dtype=np.int64),
            numbers=np.array([len(each) for each in found.values()], dtype=np.int64),
            images=joined.images.numpy(),
            boxes=joined.boxes.numpy(),
            scores=joined.scores.numpy(),
            classes=joined.classes.numpy(),
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, buffer.getvalue())
        self._saved = time.monotonic()


def _digest(what: str) -> bytes:
    return hashlib.sha256(what.encode()).digest()
