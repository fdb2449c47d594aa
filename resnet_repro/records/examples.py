"""`<run>/examples.json`: the best and the worst detections of a test, for a picture of them.

    {"boxes 600": [{"photograph": "/data/VOC2007/JPEGImages/000005.jpg", "is_best": true,
                    "labelled": {"boxes": [[262, 210, 324, 339]], "names": ["chair"],
                                 "ignored": [false]},
                    "found": {"boxes": [...], "names": [...], "scores": [0.98]}}]}

Boxes are x1, y1, x2, y2 in pixels of the photograph, 0-based, with an exclusive end.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from resnet_repro.files import exclusive_lock, read_bytes, write_atomically
from resnet_repro.records import TESTS_LOCK
from resnet_repro.records.errors import DamagedError
from resnet_repro.strict_json import read_json

EXAMPLES_FILE = "examples.json"
SHOWN = 0.5  # score from which a detection is drawn, and counts for the choice
OVERLAP = 0.5  # IoU of a detection that is right

Box = Sequence[float]


@dataclass(frozen=True)
class Labelled:
    """The labelled objects of a photograph: boxes, class names, and which do not count."""

    boxes: list[Box]
    names: list[str]
    ignored: list[bool]


@dataclass(frozen=True)
class Found:
    """The detections on a photograph: boxes, class names and scores, from the best."""

    boxes: list[Box]
    names: list[str]
    scores: list[float]


@dataclass(frozen=True)
class Example:
    """A photograph with its objects and what was detected.

    Attributes:
        photograph: Its file.
        labelled: Its objects.
        found: The detections.
        is_best: Whether it was chosen as one of the best, not of the worst.
    """

    photograph: str
    labelled: Labelled
    found: Found
    is_best: bool = True


def choose(every: Iterable[Example], number: int) -> list[Example]:
    """Return the photographs that are detected best and worst, `number` of each, the best first.

    By their F1 score, of detections with a score of at least `SHOWN`; of those detected alike, the
    ones with most objects.
    """
    counted = [(each, _f1(each), len(each.labelled.boxes)) for each in every]
    best = sorted(counted, key=lambda each: (-each[1], -each[2], each[0].photograph))
    worst = sorted(counted, key=lambda each: (each[1], -each[2], each[0].photograph))
    chosen = [replace(each, is_best=True) for each, _, _ in best[:number]]
    taken = {each.photograph for each in chosen}
    rest = [each for each, _, _ in worst if each.photograph not in taken]
    return chosen + [replace(each, is_best=False) for each in rest[:number]]


def _f1(example: Example) -> float:
    """Return the F1 score of a photograph; 1 where there is nothing to find and nothing found."""
    right = matched(example)
    there, found = example.labelled, example.found
    num_shown = sum(score >= SHOWN for score in found.scores)
    wrong = num_shown - sum(each is not None for each in right)
    hits = {each for each in right if each is not None and not there.ignored[each]}
    total = sum(not each for each in there.ignored) + len(hits) + wrong
    return 2 * len(hits) / total if total else 1.0


def matched(example: Example) -> list[int | None]:
    """Return the object that each shown detection is of, from the best score; None of none."""
    there, found = example.labelled, example.found
    order = sorted(range(len(found.scores)), key=lambda each: -found.scores[each])
    right: list[int | None] = [None] * len(found.scores)
    free = set(range(len(there.boxes)))
    for each in order:
        same = [n for n in free if there.names[n] == found.names[each]]
        overlaps = {n: overlap(found.boxes[each], there.boxes[n]) for n in same}
        best = max(overlaps, key=lambda n: overlaps[n], default=None)
        if found.scores[each] < SHOWN or best is None or overlaps[best] < OVERLAP:
            continue
        right[each] = best
        if not there.ignored[best]:
            free.remove(best)
    return right


def overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union (IoU)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both) if areas > both else 0.0


def write_examples(folder: Path, key: str, examples: Iterable[Example]) -> None:
    """Add the examples of a test by the key of its protocol; they replace earlier ones."""
    with exclusive_lock(folder / TESTS_LOCK):  # of two tests at once
        every = {name: [asdict(each) for each in there] for name, there in _read(folder).items()}
        every[key] = [asdict(each) for each in examples]
        write_atomically(folder / EXAMPLES_FILE, json.dumps(every, allow_nan=False) + "\n")


def read_examples(folder: Path, key: str) -> list[Example]:
    """Return the examples of a test; none where they are not here.

    Raises:
        DamagedError: The file cannot be read.
    """
    return _read(folder).get(key, [])


def _read(folder: Path) -> dict[str, list[Example]]:
    path = folder / EXAMPLES_FILE
    try:
        found = read_json(read_bytes(path) or b"{}")
        return {key: [_example(**each) for each in there] for key, there in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path} is damaged ({error}): delete it and test again") from error


def _example(*, labelled: dict[str, list], found: dict[str, list], **others: object) -> Example:  # type: ignore[type-arg]
    example = Example(labelled=Labelled(**labelled), found=Found(**found), **others)  # type: ignore[arg-type]
    for lists in (labelled, found):
        if len({*map(len, lists.values())}) > 1:
            raise ValueError("there are not as many boxes as names")
    return example
