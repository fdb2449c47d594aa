"""The labelled boxes of a set of photographs: checked as its files are read, kept as arrays."""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnet_repro.text import count, few

READERS = 8  # threads: they wait for the disk

Value = TypeVar("Value")


@dataclass
class Objects:
    """Labelled objects as annotations give them; a list per field, an entry per object.

    Attributes:
        photographs: The position of the photograph, in increasing order.
        boxes: x1, y1, x2, y2 in the convention of this package; nan for what is no number.
        classes: The position of the class.
        ignored: Whether it is neither learned nor counted.
        areas: In pixels; nan: that of the box.
        places: Where the annotation is, for messages.
    """

    photographs: list[int] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AnnotatedSet:
    """A set of N photographs with M objects, of which those of a photograph are adjacent.

    Attributes:
        names: The photographs' names, as results give them.
        files: Their files, relative to the set's folder.
        ids: (N,), int64.
        sizes: (N, 2), int32: height and width in pixels as stored; EXIF's rotation is ignored.
        offsets: (N + 1,), int64: photograph i has the objects from offsets[i] to offsets[i + 1].
        boxes: (M, 4), float32.
        classes: (M,), int64: positions in `class_names`.
        ignored: (M,), bool.
        areas: (M,), float32.
        class_names: The classes that the set has or declares.
        class_ids: Their numbers in the annotations.
        class_places: The file and object where each class is first found, for messages.
        notes: What was left out or changed, and where.
        about: What a table of results must say of the set; without paths.
        unreadable: By position, why a photograph cannot be read.
        exhaustive: Whether all objects of the classes are labelled in all photographs.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    ids: np.ndarray
    sizes: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    class_names: tuple[str, ...]
    class_ids: tuple[int, ...]
    class_places: tuple[str, ...]
    notes: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    unreadable: dict[int, str] = field(default_factory=dict)
    exhaustive: bool = True

    def take(self, positions: np.ndarray) -> "AnnotatedSet":
        """Return the photographs at these positions."""
        new = {int(old): i for i, old in enumerate(positions)}
        numbers = np.diff(self.offsets)[positions]
        objects = np.arange(numbers.sum()) + np.repeat(
            self.offsets[positions] - np.cumsum(numbers) + numbers, numbers
        )
        kept = {
            name: getattr(self, name)[objects] for name in ("boxes", "classes", "ignored", "areas")
        }
        return replace(
            self,
            names=tuple(self.names[i] for i in positions),
            files=tuple(self.files[i] for i in positions),
            ids=np.arange(len(positions)),
            sizes=self.sizes[positions],
            offsets=np.concatenate([[0], np.cumsum(numbers)]),
            unreadable={new[i]: why for i, why in self.unreadable.items() if i in new},
            **kept,
        )


def number(value: Any) -> float:  # noqa: ANN401
    """Return a value of an annotation as a number; nan if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def repeated(values: Iterable[Value]) -> list[Value]:
    """Return the values that are there more than once."""
    return [value for value, number in Counter(values).items() if number > 1]


def photograph_sizes(folder: Path, files: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """Read the headers of photographs.

    Returns:
        (N, 2), int32, heights and widths as stored, 0 where a header cannot be read; and by
        position why it cannot.
    """
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda file: _size(folder / file), files))
    sizes = [(0, 0) if isinstance(size, str) else size for size in found]
    unreadable = {i: size for i, size in enumerate(found) if isinstance(size, str)}
    return np.array(sizes, dtype=np.int32).reshape(-1, 2), unreadable


def _size(path: Path) -> tuple[int, int] | str:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UnidentifiedImageError:  # its message has an address that varies
        return "unknown format"
    except Exception as error:  # Pillow raises half a dozen kinds on damaged files
        return getattr(error, "strerror", None) or str(error).split("\n")[0] or "it is damaged"


def size_note(
    names: Sequence[str], said: Sequence[tuple[int, int]], sizes: np.ndarray, done: str
) -> str:
    """Say which photographs have another size than their annotations say; "" if none has.

    Args:
        names: The photographs' names.
        said: Heights and widths in the annotations; 0 where they say nothing.
        sizes: (N, 2), heights and widths of the photographs; 0 if one cannot be read.
        done: What was done about that.
    """
    differ = [
        f"{name} ({width} x {height}, annotated {size[1]} x {size[0]})"
        for name, size, (height, width) in zip(names, said, sizes.tolist(), strict=True)
        if min(*size, height, width) > 0 and tuple(size) != (height, width)
    ]
    if not differ:
        return ""
    return (
        f"{count(len(differ), 'photograph')} of another size than annotated; {done}: {few(differ)}"
    )


@dataclass(frozen=True)
class Checked:
    """The usable ones among objects, as arrays for an `AnnotatedSet`, and notes on the others."""

    offsets: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    notes: list[str]


def check(objects: Objects, sizes: np.ndarray, *, least: float, slack: float) -> Checked:
    """Leave out boxes that hold no pixel of their photograph, and clip the others to it.

    Args:
        objects: The objects.
        sizes: (N, 2), heights and widths of the photographs; 0 if one cannot be read.
        least: Width and height, in pixels, that a box must exceed.
        slack: Pixels by which a box may reach beyond its photograph without being clipped.
    """
    owners = np.array(objects.photographs, dtype=np.int64)
    given = np.array(objects.boxes, dtype=np.float64).reshape(-1, 4)
    limits = sizes[owners][:, [1, 0, 1, 0]].astype(np.float64)
    limits[limits == 0] = np.inf  # the photograph cannot be read: it is left out, or the run ends
    is_number: np.ndarray = np.isfinite(given).min(axis=1, initial=True)
    has_area: np.ndarray = is_number & (given[:, 2:] - given[:, :2] > least).all(axis=1)
    inside = np.clip(given, 0, limits)
    kept = inside.astype(np.float32)  # in which a very small box may have no area
    usable: np.ndarray = has_area & (kept[:, 2:] > kept[:, :2]).all(axis=1)
    beyond = np.abs(given - inside, where=is_number[:, None], out=np.zeros_like(given))
    clipped: np.ndarray = usable & (beyond.max(axis=1, initial=0) > slack)
    boxes = np.where(clipped[:, None], inside, given)[usable]
    areas = np.array(objects.areas, dtype=np.float64)[usable]
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    areas = np.where(np.isfinite(areas) & (areas > 0), areas, whole)
    numbers = np.bincount(owners[usable], minlength=len(sizes))
    notes = [
        f"{count(int(which.sum()), 'object')} {what}: "
        f"{few([objects.places[i] for i in np.flatnonzero(which)])}"
        for which, what in (
            (~is_number, "left out, with a box that is no four numbers"),
            (is_number & ~has_area, "left out, with a box without area"),
            (has_area & ~usable, "left out, with a box outside of the photograph"),
            (clipped, "with a box that reaches beyond the photograph, clipped to it"),
        )
        if which.any()
    ]
    return Checked(
        offsets=np.concatenate([[0], np.cumsum(numbers)]),
        boxes=boxes.astype(np.float32),
        classes=np.array(objects.classes, dtype=np.int64)[usable],
        ignored=np.array(objects.ignored, dtype=bool)[usable],
        areas=areas.astype(np.float32),
        notes=notes,
    )
