"""Photographs with boxes of ILSVRC's detection task (DET), in the folders of its archive.

    ROOT/ImageSets/DET/SET.txt              a name per line, maybe with a number behind it
    ROOT/Annotations/DET/PART/NAME.xml      its objects, in PASCAL VOC's format
    ROOT/Data/DET/PART/NAME.JPEG            the photograph
    ROOT/devkit/data/*det_validation_blacklist.txt

ROOT may also be the folder above, with ILSVRC in it. PART is `train` for sets whose name begins so,
else `val`. Without `train.txt`, `train` is all of `train_1.txt` to `train_200.txt` together;
without `val1.txt` and `val2.txt`, `val` is split as in [Gir14].

A photograph and a class may be on the blacklist: then the class is not judged there. Its objects in
the photograph are ignored, and an ignored one as large as the photograph is added.

[Gir14]  Rich feature hierarchies for accurate object detection (R-CNN), arXiv:1311.2524
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from resnet_repro.data.class_folders import image_names
from resnet_repro.detection.annotated import AnnotatedSet
from resnet_repro.detection.halves import balanced_halves
from resnet_repro.detection.scene_cache import cached, fingerprint
from resnet_repro.detection.voc import (
    annotated,
    class_places,
    found_classes,
    names_in,
    photographs_of,
)
from resnet_repro.errors import UserError, nearest
from resnet_repro.settings.data import DataConfig
from resnet_repro.text import count, few

HALVES = ("val1", "val2")
LISTS = "ImageSets/DET"
NO_BLACKLIST = "the validation blacklist was missing, so all classes count in all photographs"
OWN_HALVES = (
    "val1 and val2 are halves of our own, by a rule like R-CNN's, whose lists were not there"
)


def read_set(config: DataConfig, name: str) -> tuple[Path, AnnotatedSet]:
    """Read a set; arguments and errors as for `voc.read_set`.

    The blacklist is of the test: a set that is trained on keeps its objects.
    """
    root = _root(Path(config.root))
    folder, made = _find(root, name)
    is_judged = folder.name == "val" and name in (config.boxes.test if config.boxes else ())
    return folder, _without_blacklisted(root, made) if is_judged else made


def _find(root: Path, name: str) -> tuple[Path, AnnotatedSet]:
    listed = root / LISTS / f"{name}.txt"
    if name in HALVES and not listed.is_file():
        (other,) = (root / LISTS / f"{half}.txt" for half in HALVES if half != name)
        if other.is_file():  # a half of our own would have photographs of the other
            raise UserError(f"there is {other} and no {listed}: provide both lists, or neither")
        return _half(root, name)
    return _read(root, name, _names(root, name), listed)


def classes(config: DataConfig, sets: dict[str, AnnotatedSet]) -> tuple[tuple[str, ...], list[int]]:
    """Return the classes' WordNet ids, sorted, and their numbers; errors as for `voc.classes`."""
    return found_classes(config, class_places(sets))


def _root(given: Path) -> Path:
    for root in (given, given / "ILSVRC"):
        if (root / LISTS).is_dir():
            return root
    raise UserError(
        f"there is no folder {given / LISTS}, nor in {given / 'ILSVRC'}; downloading needs a "
        f"login.\nSet data.root=ROOT, with ROOT/{LISTS}, ROOT/Annotations/DET and ROOT/Data/DET."
    )


def _names(root: Path, name: str) -> list[str]:
    listed = root / LISTS / f"{name}.txt"
    if listed.is_file():
        return names_in(listed, first_word=True)
    if name == "train":
        parts = sorted((root / LISTS).glob("train_*.txt"))
        if parts:
            every = (each for part in parts for each in names_in(part, first_word=True))
            return list(dict.fromkeys(every))
    known = sorted({path.stem for path in (root / LISTS).glob("*.txt")})
    raise UserError(
        f"data.boxes: there is no set {name}: no file {listed}{nearest(name, known)}\nThe labels "
        f"of the test set are not public: test on val2."
    )


def _read(root: Path, name: str, names: list[str], listed: Path) -> tuple[Path, AnnotatedSet]:
    part = "train" if name.startswith("train") else "val"
    photographs, boxes = root / "Data/DET" / part, root / "Annotations/DET" / part
    for folder in (photographs, boxes):
        if not folder.is_dir():
            raise UserError(
                f"{listed} needs the folder {folder}: unpack ILSVRC's DET archive there"
            )
    here = {file.removesuffix(".xml") for file in _xml_files(boxes)}
    without = [each for each in names if each not in here]
    if without and (part == "val" or len(without) == len(names)):
        raise UserError(
            f"{listed} names photographs without annotations: {boxes} has no {few(without)}\n"
            f"Complete the folder, or take the names out of the list."
        )
    kept = [each for each in names if each in here]
    files = photographs_of(photographs, listed, kept)
    annotations = [boxes / f"{each}.xml" for each in kept]
    content = [
        "\n".join(kept).encode(errors="surrogateescape"),
        fingerprint(boxes, [f"{each}.xml" for each in kept]),
        fingerprint(photographs, files),
    ]
    made = cached(content, str(listed), lambda: annotated(photographs, kept, files, annotations))
    notes = [f"{count(len(without), 'photograph')} without annotations left out"] * bool(without)
    made = replace(made, notes=(*made.notes, *notes), exhaustive=part == "val")
    return photographs, made


def _without_blacklisted(root: Path, made: AnnotatedSet) -> AnnotatedSet:
    blacklist, note = _blacklist(root)
    made = without_blacklisted(made, blacklist)
    if not note:
        return made
    return replace(made, notes=(*made.notes, note), about=(*made.about, NO_BLACKLIST))


def _xml_files(folder: Path) -> list[str]:
    return image_names(folder, (".xml",))


def _blacklist(root: Path) -> tuple[dict[str, list[str]], str]:
    """Return the classes that are not judged, by photograph, and a note if there is no list."""
    lists = sorted(root.glob("*devkit*/data/*det_validation_blacklist.txt"))
    whole = root / LISTS / "val.txt"
    if not lists or not whole.is_file():
        what = whole if lists else root / "devkit/data/ILSVRC2014_det_validation_blacklist.txt"
        return {}, f"no {what}: all classes count in all photographs"
    numbers = {}
    for position, line in enumerate(_text(whole).split("\n"), start=1):
        words = line.split()
        if words:
            numbers[(words[1:] or [str(position)])[0]] = words[0]
    found: dict[str, list[str]] = {}
    for line in _text(lists[-1]).split("\n"):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in numbers:
            raise UserError(
                f"{lists[-1]}: {line!r} is not the number of a photograph in {whole} and a class"
            )
        found.setdefault(numbers[words[0]], []).append(words[1])
    return found, ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def without_blacklisted(made: AnnotatedSet, blacklist: dict[str, list[str]]) -> AnnotatedSet:
    """Return a set in which classes are ignored in some photographs.

    Args:
        made: The set.
        blacklist: The classes by the names of photographs.
    """
    index = {name: i for i, name in enumerate(made.class_names)}
    at = {name: i for i, name in enumerate(made.names)}
    pairs = {
        (at[name], index[each])
        for name, classes_ in blacklist.items()
        for each in classes_
        if name in at and each in index
    }
    if not pairs:
        return made
    owners = np.repeat(np.arange(len(made.names)), np.diff(made.offsets))
    listed = [pair in pairs for pair in zip(owners.tolist(), made.classes.tolist(), strict=True)]
    where, labels = (np.array(each, dtype=np.int64) for each in zip(*sorted(pairs), strict=True))
    sizes = made.sizes[where].astype(np.float32)
    whole = np.concatenate([np.zeros_like(sizes), sizes[:, ::-1]], axis=1)
    order = np.argsort(np.concatenate([owners, where]), kind="stable")
    numbers = np.diff(made.offsets) + np.bincount(where, minlength=len(made.names))
    return replace(
        made,
        offsets=np.concatenate([[0], np.cumsum(numbers)]),
        boxes=np.concatenate([made.boxes, whole])[order],
        classes=np.concatenate([made.classes, labels])[order],
        ignored=np.concatenate([made.ignored | listed, np.ones(len(where), dtype=bool)])[order],
        areas=np.concatenate([made.areas, sizes.prod(axis=1)])[order],
    )


def _half(root: Path, name: str) -> tuple[Path, AnnotatedSet]:
    """Return one of the two halves of `val` of our own."""
    folder, whole = _find(root, "val")
    owners = np.repeat(np.arange(len(whole.names)), np.diff(whole.offsets))
    numbers = np.zeros((len(whole.names), len(whole.class_names)), dtype=np.int64)
    np.add.at(numbers, (owners[~whole.ignored], whole.classes[~whole.ignored]), 1)
    first, imbalance = balanced_halves(numbers)
    which = np.flatnonzero(first == (name == HALVES[0]))
    note = (
        f"a half of val of our own, as there is no {root / LISTS / name}.txt: by a rule like that "
        f"of R-CNN, the largest imbalance of a class is {100 * imbalance:.0f} %"
    )
    made = whole.take(which)
    return folder, replace(made, notes=(*made.notes, note), about=(*made.about, OWN_HALVES))
