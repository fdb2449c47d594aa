"""The settings that make up a run's identity."""

from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

# Metadata of a field that is not part of a run's identity; see `resnet_repro.settings.run`.
FREE = {"identity": False}


def identity_fields(config: Any, defaults: bool, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield the flat key and the value of each setting that a run's weights depend on."""
    for name, default in _fields(type(config)):  # type: ignore[arg-type]
        value = getattr(config, name)
        if is_dataclass(value):
            yield from identity_fields(value, defaults, f"{prefix}{name}.")
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif defaults or value != default:
            yield prefix + name, value


def _flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@cache
def _fields(section: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    """Return names and defaults of a section's fields that count; plans ask thousands of times."""
    return [
        (item.name, item.default if item.default_factory is NO_DEFAULT else item.default_factory())
        for item in fields(section)
        if item.metadata.get("identity", True)
    ]
