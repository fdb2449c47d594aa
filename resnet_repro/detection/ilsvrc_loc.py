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

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from resnet_repro.data.class_folders import image_names
from resnet_repro.detection.annotated import AnnotatedSet, few, repeated
from resnet_repro.detection.scene_cache import cached, fingerprint
from resnet_repro.detection.voc import annotated, class_places, found_classes
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig
from resnet_repro.text import count

SETS = ("train", "val")


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
    notes = []
    if len(names) < len(annotations):
        without = [each for each in annotations if each not in files]
        notes.append(f"{count(len(without), 'annotation')} without a photograph: {few(without)}")
    if name == "val":
        names, note = _without_blacklisted(photographs, names)
        notes.append(note)
    found, xml = [files[each] for each in names], [annotations[each] for each in names]
    content = ["\n".join(names).encode(), fingerprint(photographs, found), fingerprint(boxes, xml)]
    made = cached(
        content,
        str(boxes),
        lambda: with_one_class(annotated(photographs, names, found, [boxes / e for e in xml])),
    )
    return photographs, replace(made, notes=(*made.notes, *(note for note in notes if note)))


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

    The list has numbers: 1 is the first photograph of `val` by name, whether it has boxes or not.
    """
    roots = [*photographs.parents][:3]
    lists = [p for r in roots for p in r.glob("*devkit*/data/*clsloc_validation_blacklist.txt")]
    if not lists:
        where = roots[0] / "devkit/data/ILSVRC2014_clsloc_validation_blacklist.txt"
        return names, f"no {where}: no photograph is left out of the test"
    try:
        listed = {int(word) for word in lists[0].read_text().split()}
    except ValueError as error:
        raise UserError(f"{lists[0]} must have the number of a photograph per line") from error
    every = sorted(PurePosixPath(file).stem for file in image_names(photographs))
    if listed and max(listed) > len(every):
        raise UserError(
            f"{lists[0]} lists photograph {max(listed)}, and {photographs} has {len(every)}: "
            f"complete it"
        )
    left_out = {every[number - 1] for number in listed}
    return [name for name in names if name not in left_out], ""
