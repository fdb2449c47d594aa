"""Checkpoints: written atomically, the previous one kept, damage and mix-ups detected.

A checkpoint is a file of `torch.save`, a zip file, whose comment has the SHA-256 of all bytes
before it: a zip file's own checksums do not cover its directory. It has the id of its run.
"""

import hashlib
import io
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.files import remove_temporary, write_temporary
from resnet_repro.records.errors import DamagedError

logger = logging.getLogger("resnet_repro")
LAST, PREVIOUS, DAMAGED = "last.pt", "previous.pt", "damaged.pt"

COMMENT = b"resnet-repro sha256 %b\n"
LENGTH = len(COMMENT % (b"0" * 64))


class _OtherRunError(Exception):
    """A checkpoint is intact, but belongs to another run, whose id is the message."""


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; at any time `last.pt` or `previous.pt` is complete.

    Args:
        folder: The run's folder, which this process has locked.
        state: Tensors and plain values; `run` is the run's id.

    Raises:
        OSError: The disk is full, for example; existing checkpoints are kept.
    """
    # In memory first: torch's zip writer turns a full disk into a RuntimeError.
    content = io.BytesIO()
    torch.save(state, content)
    content.seek(-2, io.SEEK_END)  # the length of the comment
    content.write(LENGTH.to_bytes(2, "little"))
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    content.write(COMMENT % digest.encode())
    remove_temporary(folder, LAST)  # the lock keeps out all processes but killed ones
    temporary = write_temporary(folder / LAST, content.getbuffer())
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    temporary.replace(folder / LAST)


def restore(
    folder: Path, run: str, check: Callable[[dict[str, Any]], None], *, moves_damaged: bool = False
) -> dict[str, Any] | None:
    """Read the last intact checkpoint of a run, onto the CPU; None if there is none yet.

    One that is damaged or belongs to another run causes a warning, and the previous one is used.

    Args:
        folder: The run's folder.
        run: The run's id.
        check: Raises a ValueError if a checkpoint's content does not fit the run.
        moves_damaged: Whether a damaged `last.pt` is moved away if the previous one is used, so
            that `save` does not replace the intact one by it.

    Raises:
        DamagedError: There are checkpoints and none can be used.
    """
    there = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    for path in there:
        try:
            state = _read(path, run)
            check(state)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # zipfile and torch raise a dozen kinds on damaged files
            why = "of another run" if isinstance(error, _OtherRunError) else "damaged"
            ours = isinstance(error, ValueError | _OtherRunError)
            reason = str(error) if ours else f"{type(error).__name__}: {error}"
            logger.warning("%s is %s (%s)", path, why, reason.split("\n", 1)[0])
            continue
        if path.name == PREVIOUS and there[0].name == LAST and moves_damaged:
            there[0].replace(folder / DAMAGED)
            logger.warning("%s is used instead; the other is now %s", path, folder / DAMAGED)
        return state
    if there:
        raise DamagedError(
            f"no checkpoint in {folder} can be used. Restore one from a backup, or delete the "
            f"folder to train the run from the start."
        )
    return None


def _read(path: Path, run: str) -> dict[str, Any]:
    """Return a checkpoint's content; raise an error of any kind if it is not as it was saved."""
    with path.open("rb") as file:
        left = file.seek(0, io.SEEK_END) - LENGTH
        file.seek(max(0, left))
        comment = file.read()
        file.seek(0)
        digest = hashlib.sha256()
        while left > 0 and (chunk := file.read(min(left, 2**20))):
            digest.update(chunk)
            left -= len(chunk)
        if comment != COMMENT % digest.hexdigest().encode():
            raise ValueError("its checksum is wrong")
        file.seek(0)
        state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"its content is a {type(state).__name__}")
    saved_by = state.get("run")
    if not isinstance(saved_by, str) or _same(saved_by) != _same(run):
        raise _OtherRunError(saved_by)
    return state


def _same(run: str) -> str:
    """Return the part of an id that rows which share a run have in common: seed and digest."""
    return re.sub(r"^.*(?=-seed)", "", run)


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of all weights and batch-norm averages, in the order of their names."""
    return state_hash(model.state_dict())


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors, in the order of their names: see `weights_hash`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)  # of any type
        digest.update(content.numpy().tobytes())
    return digest.hexdigest()
