"""The networks of torchvision and timm by name: `model.name=torchvision/resnet50`.

They are built without weights, for the data's number of classes, and are identified by the
library's version.
"""

import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from resnet_repro.errors import UserError, nearest, shortage
from resnet_repro.plugins.code import in_line

# A builder as plugins register them, and what identifies its code.
Found = tuple[Callable[[Any, int, int], Any], str]


def _torchvision(name: str) -> Found:
    source = _version("torchvision", name, "torchvision")
    models = _import("torchvision.models")
    _require("torchvision", name, models.list_models(module=models))
    return lambda _, num_classes, image_size: models.get_model(
        name, weights=None, num_classes=num_classes
    ), source


def _timm(name: str) -> Found:
    source = _version("timm", name, "'resnet-repro[timm]'")
    timm = _import("timm")
    if not timm.is_model(name):
        _require("timm", name, timm.list_models())
    return lambda _, num_classes, image_size: timm.create_model(
        name, pretrained=False, num_classes=num_classes
    ), source


LIBRARIES: dict[str, Callable[[str], Found]] = {"torchvision": _torchvision, "timm": _timm}


def _version(library: str, name: str, to_install: str) -> str:
    """Return a library and its version, the same for all builds of it: without a `+cu130`."""
    try:
        if find_spec(library) is None:
            raise PackageNotFoundError
        return f"{library} {version(library).partition('+')[0]}"
    except PackageNotFoundError as error:
        raise UserError(
            f"model.name={library}/{name}: {library} is not installed: pip install {to_install}"
        ) from error


def _import(name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a library that does not fit torch leads to
        if shortage(error):
            raise
        raise UserError(f"{name} cannot be imported: {in_line(error)}") from error


def _require(library: str, name: str, names: list[str]) -> None:
    """Raise a UserError unless a library has a network of that name."""
    if name not in names:
        guess = nearest(name, names) if len(names) < 200 else nearest(name, names).split(";")[0]
        raise UserError(f"model.name={library}/{name}: {library} has no such network{guess}")
