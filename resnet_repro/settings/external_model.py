"""The settings of a network that is not one of ours: a plugin's, torchvision's or timm's."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError, shortage
from resnet_repro.plugins.code import in_line
from resnet_repro.plugins.registry import PAPER_NETWORKS, RegisteredNetwork, find
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.identity import FREE, identity_fields
from resnet_repro.settings.mistakes import about_setting
from resnet_repro.settings.model import ModelConfig

COMMON = ("name", "settings", "num_classes")  # keys of `model` that every network has


@dataclass(kw_only=True)
class ExternalModelConfig:
    """A network that is not one of ours.

    Attributes:
        name: Its name in the registry of plugins.
        settings: All its settings, plain: texts, numbers, lists, dicts.
        source: What identifies its code; another one makes another run.
        num_classes: The length of its output; follows the data.
        image_size: Height and width of the images, pixels; follows the data.
    """

    name: str
    settings: dict[str, Any]
    source: str
    num_classes: int
    image_size: int = field(metadata=FREE)  # in the identity as `data.image_size`


Model = ModelConfig | ExternalModelConfig


def parse_model(section: DictConfig, data: DataConfig | DictConfig) -> Model:
    """Check a composed `model` section and make a value of it.

    Args:
        section: The section.
        data: The `data` section, or its value.

    Raises:
        UserError: There is no such network, or its settings are wrong.
        OmegaConfBaseException: A value is missing or of the wrong type.
    """
    name = section.name
    if not isinstance(section.settings, DictConfig | None):
        raise UserError("model.settings: its settings have names: model.settings.KEY=VALUE")
    if name in PAPER_NETWORKS:
        for key in map(str, section.settings or ()):
            raise UserError(f"model.settings.{key}: {name} has none; its settings are model.depth, "
                            f"model.width, ...")  # fmt: skip
        values = vars(OmegaConf.to_object(section))
        return ModelConfig(**{key: values[key] for key in values if key != "settings"})
    network = find(name)
    return ExternalModelConfig(
        name=name,
        settings=_plain(_node(network, section.settings)),
        source=network.source,
        num_classes=section.num_classes,
        image_size=data.image_size,
    )


def typed_settings(network: RegisteredNetwork, settings: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return settings as the object of the network's own dataclass; None if it has none."""
    return None if network.settings is None else OmegaConf.to_object(_node(network, settings))


def chosen_settings(model: Model) -> dict[str, Any]:
    """Return a network's name and those of its settings that differ from their defaults, flat."""
    chosen = dict(identity_fields(model, False, "model."))
    if isinstance(model, ModelConfig):
        return chosen
    kind = find(model.name).settings
    usual = replace(model, name="", settings=_plain(OmegaConf.structured(kind)) if kind else {})
    defaults = dict(identity_fields(usual, False, "model."))
    return {key: value for key, value in chosen.items() if defaults.get(key) != value}


def refuse_foreign(name: Any, keys: Iterable[str]) -> None:  # noqa: ANN401
    """Check that settings of the papers' networks were not given for a plugin's network.

    Raises:
        UserError: One of the keys is a setting of the papers' networks only.
    """
    if not isinstance(name, str) or name in PAPER_NETWORKS:
        return
    for key in keys:
        group, _, inner = key.partition(".")
        if group == "model" and inner and inner.split(".")[0] not in COMMON:
            raise UserError(f"{key}: {name} has no such setting; {_choices(find(name))}")


def _node(network: RegisteredNetwork, settings: dict[str, Any] | DictConfig | None) -> DictConfig:
    """Return a network's settings, checked against its dataclass.

    Raises:
        UserError: One is unknown, missing or wrong; the message has its key.
    """
    given = settings or {}
    if network.settings is None:
        for key in map(str, given):
            raise UserError(f"model.settings.{key}: {network.name} has no settings")
        return OmegaConf.create({})
    try:
        typed = OmegaConf.structured(network.settings)
    except Exception as error:  # a type of field that settings cannot have, for one
        raise UserError(
            f"the settings of {network.name}, {network.settings.__name__}: {in_line(error)}"
        ) from error
    try:
        OmegaConf.set_readonly(typed, None)  # of a frozen dataclass
        config = OmegaConf.create({"model": {"settings": typed}})
        OmegaConf.update(config, "model.settings", given)
        OmegaConf.to_object(config.model.settings)  # the dataclass's own checks
    except OmegaConfBaseException as error:
        raise UserError(about_setting(error) or str(error)) from error
    except Exception as error:
        if shortage(error):
            raise
        known = isinstance(error, UserError | ValueError)
        why = str(error) if known else in_line(error)
        raise UserError(f"model.settings of {network.name}: {why}") from error
    return cast(DictConfig, config.model.settings)


def _choices(network: RegisteredNetwork) -> str:
    if network.settings is None:
        return "it has none"
    names = OmegaConf.structured(network.settings)
    return f"its own are {', '.join(f'model.settings.{key}' for key in names)}"


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value as text, number, list or dict, as a run's identity and its files hold it."""
    if isinstance(value, DictConfig):
        return _plain(OmegaConf.to_container(value, resolve=True))
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, Path | bytes) else value
