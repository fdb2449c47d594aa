"""Photographs with their labelled boxes, to train and to test on."""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from resnet_repro.data.decode import REMEDY
from resnet_repro.detection import coco, ilsvrc_det, ilsvrc_loc, voc
from resnet_repro.detection.annotated import AnnotatedSet, repeated
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig
from resnet_repro.text import count, few

READERS: dict[str, Any] = {
    "voc": voc,
    "coco": coco,
    "ilsvrc_det": ilsvrc_det,
    "ilsvrc_loc": ilsvrc_loc,
}

logger = logging.getLogger("resnet_repro")


@dataclass(frozen=True)
class Scene:
    """A photograph with n labelled boxes.

    Attributes:
        path: Its file.
        name: Its name: `000005` in PASCAL VOC, the file's in COCO.
        id: Its number in COCO's annotations; in PASCAL VOC its position in the list.
        height: In pixels as stored: EXIF's rotation is ignored.
        width: Likewise.
        boxes: (n, 4), float32, x1 y1 x2 y2 in pixels, 0-based, with an exclusive end.
        classes: (n,), int64, 0 to K - 1.
        ignored: (n,), bool: difficult objects of PASCAL VOC, crowds of COCO; they are not learned,
            and a detection of one is neither right nor wrong. In ILSVRC's DET also a mark: the
            class is not judged in the photograph.
        areas: (n,), float32, in pixels; in COCO of the object's outline, else of its box.
        exhaustive: Whether all objects of the classes are labelled.
    """

    path: Path
    name: str
    id: int
    height: int
    width: int
    boxes: Tensor
    classes: Tensor
    ignored: Tensor
    areas: Tensor
    exhaustive: bool


@dataclass(frozen=True, eq=False)
class Scenes(Sequence[Scene]):
    """N photographs with M labelled boxes, as arrays.

    Attributes:
        folders: The folders of the photographs.
        in_folder: (N,), int16: positions in `folders`.
        files: (N,), bytes: relative to the folder.
        names: (N,), bytes.
        ids: (N,), int64.
        sizes: (N, 2), int32: heights and widths.
        offsets: (N + 1,), int64: photograph i has the boxes from offsets[i] to offsets[i + 1].
        boxes: (M, 4), float32, and so on: see `Scene`.
        classes: (M,), int64.
        ignored: (M,), bool.
        areas: (M,), float32.
        class_names: The names of the K classes.
        class_ids: Their numbers in COCO's annotations, in increasing order.
        exhaustive: Of each folder, whether all objects are labelled in its photographs.
    """

    folders: tuple[Path, ...]
    in_folder: np.ndarray
    files: np.ndarray
    names: np.ndarray
    ids: np.ndarray
    sizes: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    class_names: tuple[str, ...]
    class_ids: tuple[int, ...]
    exhaustive: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Scene: ...

    @overload
    def __getitem__(self, index: slice) -> "Scenes": ...

    def __getitem__(self, index: int | slice) -> "Scene | Scenes":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        objects = slice(self.offsets[index], self.offsets[index + 1])
        return Scene(
            path=self.folders[self.in_folder[index]] / os.fsdecode(self.files[index]),
            name=os.fsdecode(self.names[index]),
            id=int(self.ids[index]),
            height=int(self.sizes[index, 0]),
            width=int(self.sizes[index, 1]),
            boxes=torch.from_numpy(self.boxes[objects].copy()),
            classes=torch.from_numpy(self.classes[objects].copy()),
            ignored=torch.from_numpy(self.ignored[objects].copy()),
            areas=torch.from_numpy(self.areas[objects].copy()),
            exhaustive=self.exhaustive[self.in_folder[index]],
        )

    def __iter__(self) -> Iterator[Scene]:
        return (self[i] for i in range(len(self)))

    @property
    def owners(self) -> np.ndarray:
        """(M,), int64: the position of each box's photograph."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def take(self, positions: np.ndarray) -> "Scenes":
        """Return the photographs at these positions, in this order."""
        numbers = np.diff(self.offsets)[positions]
        offsets = np.concatenate([[0], np.cumsum(numbers)])
        objects = np.arange(offsets[-1]) + np.repeat(
            self.offsets[positions] - offsets[:-1], numbers
        )
        of_photographs = ("in_folder", "files", "names", "ids", "sizes")
        of_objects = ("boxes", "classes", "ignored", "areas")
        arrays = {name: getattr(self, name)[positions] for name in of_photographs}
        arrays |= {name: getattr(self, name)[objects] for name in of_objects}
        return replace(self, offsets=offsets, **arrays)

    def checksum(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of names, sizes, boxes and classes."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray) and item.name not in ("in_folder", "files"):
                digest.update(f"{item.name} {value.shape}".encode())
                digest.update(b"\n".join(value) if value.dtype.kind == "S" else value.tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class SceneSets:
    """Photographs to train and to test on.

    Attributes:
        train: With at least one object to learn in each.
        test: Also those without objects.
        unreadable: The messages about photographs skipped, with `data.skip_unreadable`.
        notes: What else was left out or changed, counted, and where.
        about: What a table of results must say of them.
    """

    train: Scenes
    test: Scenes
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    about: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.train.class_names

    def checksum(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of both parts."""
        both = self.train.checksum() + self.test.checksum()
        return hashlib.sha256(both.encode()).hexdigest()[:16]


def load_scenes(config: DataConfig) -> SceneSets:
    """Read the sets that `config.boxes` names; what it leaves out or changes is logged.

    Raises:
        UserError: A set is missing, damaged or not in its format, its classes differ from the
            settings, or a photograph is to be trained on twice.
    """
    assert config.boxes is not None
    reader = READERS[config.name]
    wanted = dict.fromkeys([*config.boxes.train, *config.boxes.test])
    read = {name: reader.read_set(config, name) for name in wanted}
    classes = reader.classes(config, {name: made for name, (_, made) in read.items()})
    unreadable = [
        f"{folder / made.files[i]} cannot be read as an image: {reason}"
        for folder, made in read.values()
        for i, reason in made.unreadable.items()
    ]
    if unreadable and not config.skip_unreadable:
        raise UserError(f"{unreadable[0]}\n{REMEDY}")
    for message in unreadable:
        logger.warning("skipped: %s", message)
    notes = [f"{name}: {note}" for name, (_, made) in read.items() for note in made.notes]
    for note in notes:
        logger.warning("%s", note)
    train, test = (
        _join([read[name] for name in names], *classes, numbered=config.name == "coco")
        for names in (config.boxes.train, config.boxes.test)
    )
    _refuse_doubles("train", train)
    _refuse_doubles("test", test)
    if not len(test):
        raise UserError(f"data.boxes.test={list(config.boxes.test)}: no photograph can be read")
    learned = np.flatnonzero(np.bincount(train.owners[~train.ignored], minlength=len(train)))
    if not len(learned):
        raise UserError(f"data.boxes.train={list(config.boxes.train)}: no object to learn")
    if len(learned) < len(train):
        dropped = count(len(train) - len(learned), "photograph")
        notes.append(f"training: {dropped} without an object to learn left out")
        logger.info("%s", notes[-1])
    about = dict.fromkeys(each for _, made in read.values() for each in made.about)
    both = {*_paths(train)} & {*_paths(test)}
    if both:
        notes.append(f"the test has {count(len(both), 'photograph')} that the training has, too")
        logger.warning("%s", notes[-1])
        about[notes[-1]] = None
    return SceneSets(train.take(learned), test, tuple(unreadable), tuple(notes), tuple(about))


def _join(
    sets: list[tuple[Path, AnnotatedSet]],
    class_names: tuple[str, ...],
    class_ids: list[int],
    *,
    numbered: bool,
) -> Scenes:
    """Return the readable photographs of several sets; `numbered` if these number them."""

    def text(values: list[str]) -> np.ndarray:
        return np.array([os.fsencode(value) for value in values], dtype=np.bytes_)

    index = {name: i for i, name in enumerate(class_names)}
    numbers = np.concatenate([np.diff(made.offsets) for _, made in sets])
    labels = [np.array([index[n] for n in made.class_names], dtype=np.int64) for _, made in sets]
    together = {
        name: np.concatenate([getattr(made, name) for _, made in sets])
        for name in ("ids", "sizes", "boxes", "ignored", "areas")
    }
    if not numbered:
        together["ids"] = np.arange(len(together["ids"]))
    scenes = Scenes(
        folders=tuple(folder for folder, _ in sets),
        in_folder=np.repeat(np.arange(len(sets), dtype=np.int16), [len(m.names) for _, m in sets]),
        files=text([file for _, made in sets for file in made.files]),
        names=text([name for _, made in sets for name in made.names]),
        offsets=np.concatenate([[0], np.cumsum(numbers)]),
        classes=np.concatenate(
            [of[made.classes] for of, (_, made) in zip(labels, sets, strict=True)]
        ),
        class_names=class_names,
        class_ids=tuple(class_ids),
        exhaustive=tuple(made.exhaustive for _, made in sets),
        **together,
    )
    readable = np.concatenate(
        [~np.isin(np.arange(len(made.names)), list(made.unreadable)) for _, made in sets]
    )
    return scenes.take(np.flatnonzero(readable))


def _paths(scenes: Scenes) -> list[tuple[str, bytes]]:
    where = [str(folder) for folder in scenes.folders]
    return [(where[i], f) for i, f in zip(scenes.in_folder, scenes.files.tolist(), strict=True)]


def _refuse_doubles(part: str, scenes: Scenes) -> None:
    twice = [f"{folder}/{os.fsdecode(file)}" for folder, file in repeated(_paths(scenes))]
    if twice:
        raise UserError(
            f"data.boxes.{part}: its sets have {count(len(twice), 'photograph')} twice: "
            f"{few(twice)}\nName sets that do not overlap."
        )
