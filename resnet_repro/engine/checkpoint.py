"""Checkpoints: written whole or not at all, the one before kept, damage noticed."""

import hashlib
import io
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnet_repro.errors import UserError

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
    # Through memory: torch's zip writer turns a full disk into a RuntimeError.
    content = io.BytesIO()
    torch.save(state, content)
    temporary = folder / (LAST + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)  # it would keep the last of the space
        raise
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    temporary.replace(folder / LAST)


def restore(folder: Path) -> dict[str, Any] | None:
    """Read the last whole checkpoint, onto the CPU; None where there is none yet.

    Raises:
        UserError: There are checkpoints and none can be read.
    """
    there = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for path in there:
        try:
            # torch does not compare checksums when it reads; the zip file holds them.
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is None:
                return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
            reason = f"the checksum of {damaged} is wrong"
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # zipfile and torch raise a dozen kinds on damaged files
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.warning("%s is damaged (%s)", path, reason)
    if there:
        raise UserError(
            f"no checkpoint in {folder} can be read. Bring one back from a copy, or delete the "
            f"folder to train the run again from the beginning."
        )
    return None


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of all weights and batch-norm averages, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
