"""`<run>/precision.json`: the curves of precision against recall of a detector's tests.

    {"boxes 600": {"aeroplane": [1.0, 0.98, ...], "bicycle": [...]}}

Only the picture needs them; tables are made from `records.json` alone. A curve has 101 numbers: the
highest precision at a recall of at least 0, .01, ... 1, for detections that overlap an object by
at least .5 (IoU); 0 at a recall that is not reached.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from resnet_repro.files import exclusive_lock, read_bytes, write_atomically
from resnet_repro.records import TESTS_LOCK
from resnet_repro.records.errors import DamagedError
from resnet_repro.strict_json import read_json

CURVES_FILE = "precision.json"
RECALLS = 101

Curves = dict[str, list[float]]


def precision_curve(is_right: Iterable[bool], num_objects: int) -> list[float]:
    """Return the curve of a class.

    Args:
        is_right: Whether each detection is of an object, by falling score; without those that are
            neither right nor wrong.
        num_objects: Number of the class's objects, above 0.
    """
    best = [0.0] * RECALLS
    found = 0
    for number, right in enumerate(is_right, start=1):
        found += right
        place = (RECALLS - 1) * found // num_objects  # the highest recall that is reached
        best[place] = max(best[place], found / number)
    for place in reversed(range(RECALLS - 1)):
        best[place] = max(best[place], best[place + 1])
    return [round(each, 4) for each in best]


def write_curves(folder: Path, key: str, curves: Mapping[str, Sequence[float]]) -> None:
    """Add the curves of a test by the key of its protocol; they replace earlier ones.

    Args:
        folder: The run's folder.
        key: The protocol's key.
        curves: The curve of each class that has objects.
    """
    with exclusive_lock(folder / TESTS_LOCK):  # of two tests at once
        every = {**_read(folder), key: {name: list(each) for name, each in curves.items()}}
        write_atomically(folder / CURVES_FILE, json.dumps(every, allow_nan=False) + "\n")


def read_curves(folder: Path, key: str) -> Curves:
    """Return the curves of a test by its class; none where they are not here.

    Raises:
        DamagedError: The file cannot be read.
    """
    return _read(folder).get(key, {})


def _read(folder: Path) -> dict[str, Curves]:
    path = folder / CURVES_FILE
    try:
        found = read_json(read_bytes(path) or b"{}")
        if not isinstance(found, dict) or not all(map(_are_curves, found.values())):
            raise ValueError("it is not curves by class")
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} is damaged ({error}): delete it and test again") from error
    return found


def _are_curves(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(curve, list)
        and len(curve) == RECALLS
        and all(type(each) in (int, float) and 0 <= each <= 1 for each in curve)
        for curve in value.values()
    )
