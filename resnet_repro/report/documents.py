"""Output as JSON, for other programs."""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any


def as_json(value: object) -> str:
    """Return a value as a JSON document with unrounded numbers.

    Dataclasses become objects, without fields that are `SPARE` and have their default; paths become
    strings, and numbers that are not finite become null,
    because JSON cannot represent them.
    """
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if is_dataclass(value):
        return {
            each.name: _plain(getattr(value, each.name))
            for each in fields(value)
            if not (each.metadata.get("spare") and getattr(value, each.name) == _default(each))
        }
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _default(field: Field[Any]) -> Any:  # noqa: ANN401
    return field.default if field.default_factory is MISSING else field.default_factory()
