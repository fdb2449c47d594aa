"""The registry of networks, and the rule for which code may be imported.

Code is imported for two reasons only: the command line names it (`plugins=`), or it asks for a
network by the name that an installed package gives it in its metadata (an entry point of the group
`resnet_repro.models`). No file of settings or results can name code.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from resnet_repro.errors import UserError, closest
from resnet_repro.plugins import code
from resnet_repro.plugins.libraries import LIBRARIES
from resnet_repro.plugins.source import digest

PAPER_NETWORKS = ("cifar_resnet", "imagenet_resnet", "vgg16")  # the papers' networks
GROUP = "resnet_repro.models"  # of entry points
PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*")

# Called with the settings, the number of classes and the image size in pixels; gives an nn.Module.
Builder = Callable[[Any, int, int], Any]
AnyBuilder = TypeVar("AnyBuilder", bound=Builder)


@dataclass(frozen=True)
class RegisteredNetwork:
    """A network that is not one of ours.

    Attributes:
        name: Its `model.name`.
        settings: The dataclass of its settings; None if it has none.
        build: Its builder.
        source: What identifies its code: a digest, or a library and its version.
        plugin: The module or file that registers it, as the user or the entry point names it.
    """

    name: str
    settings: type | None
    build: Builder
    source: str
    plugin: str


_registering: list[tuple[str, type | None, Builder]] = []  # by the code that is being imported
_networks: dict[str, RegisteredNetwork] = {}
_plugins: tuple[str, ...] = ()


def register(name: str, settings: type | None = None) -> Callable[[AnyBuilder], AnyBuilder]:
    """Register the function below as the builder of a network.

    It is called with the settings, the number of classes and the image size in pixels, and returns
    an `nn.Module` that maps images (N, 3, H, W) to logits (N, num_classes).

    Args:
        name: The network's name, for `model.name`.
        settings: A dataclass: `model.settings.KEY=VALUE` sets its fields, which are checked by
            their types and by its `__post_init__`, which raises a ValueError for a wrong value.
            None for a network without settings.

    Raises:
        UserError: The name has other characters or is taken, or the settings are not a dataclass.
    """
    if not isinstance(name, str) or not PATTERN.fullmatch(name):
        raise UserError(f"register({name!r}): a name has letters, digits and _ . - /")
    if name in PAPER_NETWORKS or name.split("/")[0] in LIBRARIES:
        raise UserError(f"the name {name} is taken by a network that is built in: register another")
    if settings is not None and not (isinstance(settings, type) and is_dataclass(settings)):
        raise UserError(
            f"register({name!r}, ...): its settings must be a dataclass (the class, not an object)"
        )

    def note(build: AnyBuilder) -> AnyBuilder:
        _registering.append((name, settings, build))
        return build

    return note


def load(plugins: Sequence[str]) -> None:
    """Import the plugins that a command line names; they replace those loaded before.

    Args:
        plugins: Modules (`my_nets`, `package.module`) and files (`nets.py`).

    Raises:
        UserError: One cannot be imported, registers nothing, or registers a name again.
    """
    global _plugins
    _networks.clear()
    code.begin()
    _plugins = tuple(code.absolute(plugin) for plugin in plugins)
    for plugin in plugins:
        _load(plugin, f"plugins={plugin}")


def loaded() -> tuple[str, ...]:
    """Return the plugins in use, for `load` in another process."""
    return _plugins


def find(name: str) -> RegisteredNetwork:
    """Return a network by its name; import its code if an installed package has it.

    Raises:
        UserError: There is no such network, or its code cannot be imported.
    """
    if name in _networks:
        return _networks[name]
    library, _, inner = name.partition("/")
    if library in LIBRARIES and inner:
        build, source = LIBRARIES[library](inner)
        _networks[name] = RegisteredNetwork(name, None, build, source, library)
        return _networks[name]
    points = entry_points(group=GROUP, name=name)
    if not points:
        raise UserError(_about_unknown(name))
    modules = sorted({point.module for point in points})
    if len(modules) > 1:
        raise UserError(f"model.name={name}: {' and '.join(modules)} both have it: choose one with "
                        f"plugins=MODULE")  # fmt: skip
    what = f"model.name={name}, of {_package(next(iter(points)))}"
    _load(modules[0], what)
    if name not in _networks:
        raise UserError(f"{what}: {modules[0]} does not register {name}")
    return _networks[name]


def _load(plugin: str, what: str) -> None:
    """Import a plugin and take what it registers.

    Args:
        plugin: The module or file.
        what: What asks for it, for messages.
    """
    _registering.clear()
    try:
        module, is_new = code.import_plugin(plugin)
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    if is_new and not _registering:
        raise UserError(
            f"{what}: it registers no network; a builder needs the line "
            f'@register("NAME", Settings) of resnet_repro.models'
        )
    source = digest(module) if _registering else ""
    for name, settings, build in _registering:
        if name in _networks:
            raise UserError(f"{what}: {name} is registered twice, here and by "
                            f"{_networks[name].plugin}")  # fmt: skip
        _networks[name] = RegisteredNetwork(name, settings, build, source, plugin)


def _about_unknown(name: str) -> str:
    named = [*PAPER_NETWORKS, *_networks, *(point.name for point in entry_points(group=GROUP))]
    near = closest(name, named)
    choices = ", ".join([*dict.fromkeys(named), *(f"{library}/NAME" for library in LIBRARIES)])
    guess = f"did you mean {near}? It" if near else "it"
    return (
        f"model.name={name}: {guess} can be {choices}\n"
        f"A network of your own needs plugins=FILE.py or plugins=MODULE on the command line."
    )


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
