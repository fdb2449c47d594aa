"""Strict JSON: no non-finite numbers, no integers from 2^53 up, no duplicate keys.

A value that breaks a rule is read as a `Refused`, or as infinity, which no rule of `schema`
accepts: only its run is rejected. Text that cannot be parsed at all raises a ValueError.
"""

import gc
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

LARGEST = 2**53  # integers below this are exact in every JSON reader
LONG = 2**20  # characters
# Metadata of a dataclass's field that a JSON document leaves out where it has its default.
SPARE = {"spare": True}
# A whole number with so many digits that it may be too large. (A checksum follows a quote.)
_LONG_NUMBER = re.compile(r"[\s:,[]-?\d{16}")


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
    text = text if isinstance(text, str) else text.decode("utf-8")
    # Of a million numbers, a function of ours for each takes most of the time.
    has_long = bool(_LONG_NUMBER.search(text)) or text[:1] in "-0123456789"
    is_collecting = gc.isenabled()
    if len(text) > LONG:  # what is read stays: to look for garbage in it takes as long as to read
        gc.disable()
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=Refused,
            parse_int=_int if has_long else None,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    finally:
        if is_collecting:
            gc.enable()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Counter(key for key, _ in pairs)
        found |= {key: Refused("there twice") for key in found if times[key] > 1}
    return found


def _int(text: str) -> int | Refused:
    return value if len(text) < 20 and abs(value := int(text)) < LARGEST else Refused(text[:20])
