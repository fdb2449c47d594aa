"""Checkpoints: written whole or not at all, the one before kept, damage noticed."""

import hashlib
import logging
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

logger = logging.getLogger("resnet_repro")
LAST, PREVIOUS = "last.pt", "previous.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; at every instant `last.pt` or `previous.pt` is whole.

    Args:
        folder: Of the run.
        state: Tensors and plain values.

    Raises:
        OSError: The disk is full, for example; the checkpoints that are there stay.
    """
    temporary = folder / (LAST + ".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    temporary.replace(folder / LAST)


def restore(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Read the last whole checkpoint; None where there is none."""
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.is_file():
            continue
        try:
            # torch does not compare checksums when it reads; the zip file holds them.
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is None:
                return torch.load(path, map_location=device, weights_only=True)  # type: ignore[no-any-return]
            reason = f"its checksum is wrong at {damaged}"
        except (zipfile.BadZipFile, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
        before = "going on from the one before" if name == LAST else "starting again"
        logger.warning("%s is damaged (%s): %s", path, reason, before)
    return None


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of all weights and batch-norm averages, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
