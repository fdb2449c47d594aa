"""Checkpoints: written whole or not at all, the one before kept, damage and mix-ups noticed.

A checkpoint is a file of `torch.save`, a zip file, whose comment holds the SHA-256 of what precedes
it: a zip file's own checksums leave out its directory. It names the run that it is of.
"""

import hashlib
import io
import logging
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnet_repro.errors import UserError
from resnet_repro.files import remove_stale, write_temporary

logger = logging.getLogger("resnet_repro")
LAST, PREVIOUS, DAMAGED = "last.pt", "previous.pt", "damaged.pt"

COMMENT = b"resnet-repro sha256 %b\n"
LENGTH = len(COMMENT % (b"0" * 64))
# How a zip file ends that has no comment: its last record, 22 bytes, closes with a length of 0.
END, END_LENGTH = b"PK\5\6", 22


class _OtherRunError(Exception):
    """A checkpoint is whole, and of the run that the message names."""


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; at every instant `last.pt` or `previous.pt` is whole.

    Args:
        folder: Of the run, which this process has locked.
        state: Tensors and plain values; `run` is the id of the run.

    Raises:
        OSError: The disk is full, for example; the checkpoints that are there stay.
    """
    # Through memory: torch's zip writer turns a full disk into a RuntimeError.
    content = io.BytesIO()
    torch.save(state, content)
    content.seek(-2, io.SEEK_END)  # the length of the comment
    content.write(LENGTH.to_bytes(2, "little"))
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    content.write(COMMENT % digest.encode())
    remove_stale(folder / LAST)  # of a process that was killed: no other one is in the run
    temporary = write_temporary(folder / LAST, content.getbuffer())
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    temporary.replace(folder / LAST)


def restore(
    folder: Path, run: str, check: Callable[[dict[str, Any]], None], *, mends: bool = False
) -> dict[str, Any] | None:
    """Read the last whole checkpoint of a run, onto the CPU; None where there is none yet.

    One that is damaged, or of another run, is named in a warning, and the one before is taken.

    Args:
        folder: Of the run.
        run: Its id.
        check: Raises a ValueError where the content of a checkpoint cannot be the run's.
        mends: Move a damaged `last.pt` away where the one before is taken, so that `save` does not
            put it in the place of that.

    Raises:
        UserError: There are checkpoints and none can be used.
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
        if path.name == PREVIOUS and there[0].name == LAST and mends:
            there[0].replace(folder / DAMAGED)
            logger.warning("%s is used instead; the other is %s now", path, folder / DAMAGED)
        return state
    if there:
        raise UserError(
            f"no checkpoint in {folder} can be used. Bring one back from a copy, or delete the "
            f"folder to train the run again from the beginning."
        )
    return None


def _read(path: Path, run: str) -> dict[str, Any]:
    """Return what a checkpoint holds; raise any error where that is not what was saved of a run."""
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(max(0, end - LENGTH))
        comment = file.read()
        file.seek(0)
        if comment[-END_LENGTH:-18] == END and comment[-2:] == b"\0\0":  # of a version without
            with zipfile.ZipFile(file) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"the checksum of {damaged} is wrong")
        else:
            digest, left = hashlib.sha256(), end - LENGTH
            while left > 0 and (chunk := file.read(min(left, 2**20))):
                digest.update(chunk)
                left -= len(chunk)
            if comment != COMMENT % digest.hexdigest().encode():
                raise ValueError("its checksum is wrong")
        file.seek(0)
        state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}")
    saved_by = state.get("run")
    if saved_by is None:
        logger.warning("%s does not say of which run it is: it was saved by an older version", path)
    elif not isinstance(saved_by, str) or _same(saved_by) != _same(run):
        raise _OtherRunError(saved_by)
    return state


def _same(run: str) -> str:
    """Return of an id what rows that share a run have in common: the seed and the digest."""
    return re.sub(r"^.*(?=-seed)", "", run)


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of all weights and batch-norm averages, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
