"""Photographs with boxes of ILSVRC's localisation task (CLS-LOC).

    ROOT/train and ROOT/val                        the photographs, in class folders or not, and
    ROOT/Annotations/train and .../val             their objects, in PASCAL VOC's format; or
    ROOT/Data/CLS-LOC/... and ROOT/Annotations/CLS-LOC/...     both as in the archive
    ROOT/devkit/data/*clsloc_validation_blacklist.txt

ROOT may also be the folder above, with ILSVRC in it. A set is `train` or `val`. Photographs are
found by the names of their annotations, so those without boxes are left out, and so are the
photographs of `val` on the blacklist. Objects of another class than the photograph's first are left
out, too: a photograph has one class.
"""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from resnet_repro.data.class_folders import image_names
from resnet_repro.detection.annotated import AnnotatedSet, repeated
from resnet_repro.detection.scene_cache import cached, fingerprint
from resnet_repro.detection.voc import annotated, class_places, found_classes
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig
from resnet_repro.text import count, few

SETS = ("train", "val")
NO_BLACKLIST = "no photograph is left out of the test, as there was no blacklist"


def read_set(config: DataConfig, name: str) -> tuple[Path, AnnotatedSet]:
    """Read a set; arguments and errors as for `voc.read_set`."""
    if name not in SETS:
        raise UserError(
            f"data.boxes: there is no set {name} of ILSVRC's localisation: train or val"
        )
    photographs, boxes = _folders(Path(config.root), name)
    annotations = _by_name(boxes, image_names(boxes, (".xml",)))
    files = _by_name(photographs, image_names(photographs))
    names = [each for each in annotations if each in files]
    if not names:
        raise UserError(
            f"no photograph in {photographs} has the name of an annotation in {boxes}: set "
            f"data.root to the folder of both"
        )
    notes: list[str] = []
    about: tuple[str, ...] = ()
    without = [each for each in annotations if each not in files]
    if name == "val":
        without += [each for each in files if each not in annotations]
        if without:  # the test would be another one
            raise UserError(
                f"{photographs} and {boxes} must have the same names, and do not share "
                f"{few(without)}: complete them"
            )
        names, note = _without_blacklisted(photographs, names)
        notes.append(note)
        about = (NO_BLACKLIST,) if note else ()
    elif without:
        notes.append(f"{count(len(without), 'annotation')} without a photograph: {few(without)}")
    found, xml = [files[each] for each in names], [annotations[each] for each in names]
    content = ["\n".join(names).encode(), fingerprint(photographs, found), fingerprint(boxes, xml)]
    made = cached(
        content,
        str(boxes),
        lambda: _read(photographs, names, found, [boxes / each for each in xml], name),
    )
    notes = [note for note in notes if note]
    return photographs, replace(made, notes=(*made.notes, *notes), about=about)


def _read(
    photographs: Path, names: list[str], files: list[str], boxes: list[Path], part: str
) -> AnnotatedSet:
    # Boxes of `train` are those of the sizes that their annotations say; the development kit takes
    # those of `val` as they are.
    made = annotated(photographs, names, files, boxes, scaled=part == "train")
    return with_one_class(with_wordnet_ids(made) if part == "train" else made)


def with_wordnet_ids(made: AnnotatedSet) -> AnnotatedSet:
    """Return a training set in which classes that are no WordNet ids are those of the names.

    Many dogs are labelled `Scottish_deerhound` in place of n02092002, and photographs are named
    after their class: n02092002_3.
    """
    is_id = np.array([bool(re.fullmatch(r"n\d+", name)) for name in made.class_names], dtype=bool)
    if is_id.all():
        return made
    of_photograph = np.array([name.partition("_")[0] for name in made.names])
    owners = np.repeat(np.arange(len(made.names)), np.diff(made.offsets))
    given = np.array(made.class_names)[made.classes]
    names = np.where(is_id[made.classes], given, of_photograph[owners])
    known, classes = np.unique(names, return_inverse=True)
    places = dict(zip(made.class_names, made.class_places, strict=True))
    first = {name: i for i, name in reversed([*enumerate(names.tolist())])}
    fallback = [places.get(name) or places[str(given[first[name]])] for name in known.tolist()]
    odd = [name for name, right in zip(made.class_names, is_id, strict=True) if not right]
    lost = count(int((~is_id[made.classes]).sum()), "object")
    return replace(
        made,
        classes=classes.astype(np.int64),
        class_names=tuple(known.tolist()),
        class_ids=tuple(range(len(known))),
        class_places=tuple(fallback),
        notes=(*made.notes, f"{lost} of {few(odd)}: of the class in the photograph's name"),
    )


def classes(config: DataConfig, sets: dict[str, AnnotatedSet]) -> tuple[tuple[str, ...], list[int]]:
    """Return the classes' WordNet ids, sorted, and their numbers; errors as for `voc.classes`."""
    return found_classes(config, class_places(sets))


def with_one_class(made: AnnotatedSet) -> AnnotatedSet:
    """Return a set of photographs with at least one object each, all of the class of the first."""
    numbers = np.diff(made.offsets)
    whole = made.take(np.flatnonzero(numbers > 0))
    first = np.repeat(whole.classes[whole.offsets[:-1]], np.diff(whole.offsets))
    same = whole.classes == first
    owners = np.repeat(np.arange(len(whole.names)), np.diff(whole.offsets))
    notes = []
    if len(whole.names) < len(made.names):
        lost = count(len(made.names) - len(whole.names), "photograph")
        notes.append(f"{lost} without an object left out")
    if not same.all():
        lost = count(int((~same).sum()), "object")
        notes.append(f"{lost} of another class than the photograph's first left out")
    offsets = np.concatenate(
        [[0], np.cumsum(np.bincount(owners[same], minlength=len(whole.names)))]
    )
    return replace(
        whole,
        offsets=offsets,
        **{name: getattr(whole, name)[same] for name in ("boxes", "classes", "ignored", "areas")},
        notes=(*made.notes, *notes),
    )


def _folders(given: Path, name: str) -> tuple[Path, Path]:
    """Return the folders of a set's photographs and of its annotations."""
    roots = (given, given / "ILSVRC")
    found = []
    for what, names in (
        ("photographs", (f"Data/CLS-LOC/{name}", name)),
        ("boxes", (f"Annotations/CLS-LOC/{name}", f"Annotations/{name}")),
    ):
        there = [root / each for root in roots for each in names if (root / each).is_dir()]
        if not there:
            raise UserError(
                f"{given} has no folder {names[1]} with the {what} of ILSVRC's localisation; "
                f"downloading needs a login.\nSet data.root=ROOT, with ROOT/{name} and "
                f"ROOT/Annotations/{name}, or Data and Annotations as in the archive."
            )
        found.append(there[0])
    return found[0], found[1]


def _by_name(folder: Path, files: list[str]) -> dict[str, str]:
    names = [PurePosixPath(file).stem for file in files]
    twice = repeated(names)
    if twice:
        raise UserError(f"{folder} has files of one name: {few(twice)}; remove one of each")
    return dict(zip(names, files, strict=True))


def _without_blacklisted(photographs: Path, names: list[str]) -> tuple[list[str], str]:
    """Return the photographs that are judged, and a note if there is no list of the others.

    The list has the numbers at the end of the photographs' names.
    """
    roots = [*photographs.parents][:3]
    pattern = "*devkit*/data/*clsloc_validation_blacklist.txt"
    lists = [path for each in roots for path in sorted(each.glob(pattern))]
    if not lists:
        where = roots[0] / "devkit/data/ILSVRC2014_clsloc_validation_blacklist.txt"
        return names, f"no {where}: no photograph is left out of the test"
    try:
        listed = {int(word) for word in lists[0].read_text().split()}
    except ValueError as error:
        raise UserError(f"{lists[0]} must have the number of a photograph per line") from error
    numbers = {int(found[0]): name for name in names if (found := re.search(r"\d+$", name))}
    unknown = sorted(listed - numbers.keys())
    if unknown:
        raise UserError(
            f"{lists[0]} lists photograph {unknown[0]}, and {photographs} has none of that number: "
            f"complete it"
        )
    left_out = {numbers[number] for number in listed}
    return [name for name in names if name not in left_out], ""
