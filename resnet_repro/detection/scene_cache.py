"""Sets of annotated photographs once read: kept as arrays in the cache of this user.

The annotations of COCO's 118,000 photographs take a minute to read, and their arrays a second.
"""

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from resnet_repro.detection.annotated import AnnotatedSet
from resnet_repro.files import cache_folder, exclusive_lock, write_atomically

logger = logging.getLogger("resnet_repro")

# What a set is made by: another version of it makes another set.
SOURCES = [
    Path(__file__).with_name(f"{name}.py")
    for name in ("annotated", "voc", "voc_xml", "coco", "ilsvrc_loc")
]
THREADS, CHUNK = 8, 1000  # files a thread looks at in one go
DIGITS = 64  # of the hash at the beginning of a file


def cached(content: Iterable[bytes], what: str, read: Callable[[], AnnotatedSet]) -> AnnotatedSet:
    """Return a set from the cache; read it and keep it if the cache has none that is whole.

    A set with unreadable photographs is not kept: they may be replaced.

    Args:
        content: All that the set is made from.
        what: What is read, for a message.
        read: Reads the set.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES))
    for part in content:
        digest.update(hashlib.sha256(part).digest())
    try:
        path = cache_folder() / f"scenes-{digest.hexdigest()[:16]}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return read()
    found = _load(path)
    if found is None:
        with exclusive_lock(path.with_suffix(".lock")):  # several processes may start at once
            found = _load(path)
            if found is None:
                logger.info("reading %s ...", what)
                found = read()
                if not found.unreadable:
                    _save(path, found)
    return found


def fingerprint(folder: Path, files: Sequence[str]) -> bytes:
    """Return names, sizes and times of change of a folder's files, for the content of `cached`."""

    def about(file: str) -> str:
        try:
            of = (folder / file).stat()
        except OSError as error:  # a link to nothing: a photograph that cannot be read
            return f"{file} {error.strerror}"
        return f"{file} {of.st_size} {of.st_mtime_ns}"

    def look(first: int) -> str:
        return "\n".join(map(about, files[first : first + CHUNK]))

    with ThreadPoolExecutor(THREADS) as pool:  # a network disk takes its time for each
        text = "\n".join(pool.map(look, range(0, len(files), CHUNK)))
    return text.encode(errors="surrogateescape")


def _save(path: Path, made: AnnotatedSet) -> None:
    values = {item.name: getattr(made, item.name) for item in fields(AnnotatedSet)}
    arrays: dict[str, Any] = {
        name: value for name, value in values.items() if isinstance(value, np.ndarray)
    }
    text = json.dumps({name: values[name] for name in values.keys() - arrays.keys()})
    buffer = io.BytesIO()
    np.savez(buffer, text=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
    content = buffer.getvalue()
    try:
        write_atomically(path, hashlib.sha256(content).hexdigest().encode() + content)
    except OSError as error:
        logger.info("%s cannot be written (%s): read again next time", path, error.strerror)


def _load(path: Path) -> AnnotatedSet | None:
    """Return a set; None if the file is missing or damaged."""
    try:
        stored = path.read_bytes()
        digest, content = stored[:DIGITS], stored[DIGITS:]
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            values = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    text = json.loads(values.pop("text").tobytes())
    for name, value in text.items():
        values[name] = tuple(value) if isinstance(value, list) else value
    return AnnotatedSet(**values)
