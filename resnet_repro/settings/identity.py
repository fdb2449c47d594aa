"""The settings that make up a run's identity."""

from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass
from typing import Any

# Metadata of a field that is not part of a run's identity; see `resnet_repro.settings.run`.
FREE = {"identity": False}


def identity_fields(config: Any, defaults: bool, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield the flat key and the value of each setting that a run's weights depend on."""
    for item in fields(config):
        if not item.metadata.get("identity", True):
            continue
        value = getattr(config, item.name)
        default = item.default if item.default_factory is NO_DEFAULT else item.default_factory()
        if is_dataclass(value):
            yield from identity_fields(value, defaults, f"{prefix}{item.name}.")
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{item.name}.")
        elif defaults or value != default:
            yield prefix + item.name, value


def _flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
