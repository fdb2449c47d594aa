"""Strict JSON: no non-finite numbers, no integers from 2^53 up, no duplicate keys.

A value that breaks a rule is read as a `Refused`, which no rule of `schema` accepts: only its run
is rejected. Text that cannot be parsed at all raises a ValueError.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

LARGEST = 2**53  # integers below this are exact in every JSON reader


@dataclass(frozen=True)
class Refused:
    """Stands for a value that is valid JSON but not allowed here; keeps the text as written."""

    text: str

    def __repr__(self) -> str:
        return self.text


def read_json(text: str | bytes) -> Any:  # noqa: ANN401
    """Read JSON.

    Raises:
        ValueError: It is not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_int,
            parse_constant=Refused,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        found |= {key: Refused("there twice") for key in found if keys.count(key) > 1}
    return found


def _float(text: str) -> float | Refused:
    return value if math.isfinite(value := float(text)) else Refused(text[:20])


def _int(text: str) -> int | Refused:
    return value if len(text) < 20 and abs(value := int(text)) < LARGEST else Refused(text[:20])
