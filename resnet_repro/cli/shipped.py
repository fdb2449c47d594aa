"""Fast composition of the shipped experiments, for use inside of `hydra.main`.

Hydra takes a tenth of a second to compose an experiment: it composes its own settings too, and
reads every file again. `list` needs all experiments. Most experiment files only choose options of
groups and set keys. These are composed here, from files that are read once. Other files are left
to Hydra, and so are files with mistakes, for Hydra's error messages.
"""

import copy
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, cast

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, flag_override

from resnet_repro.settings.run import SECTIONS
from resnet_repro.settings.schema import Schema
from resnet_repro.settings.sweep import value_text


class _NeedsHydraError(Exception):
    """Raised for a file that does more than choose options and set keys."""


def compose_shipped(name: str) -> DictConfig:
    """Return the configuration that Hydra composes for `experiment=NAME`.

    Without this machine's own settings, if there are any.

    Args:
        name: The experiment's name.

    Raises:
        HydraException: A file is wrong.
        OmegaConfBaseException: A file is wrong.
    """
    composer = _composer(GlobalHydra.instance().config_loader())
    try:
        return composer.compose(name)
    except Exception:  # whatever is wrong, the user gets Hydra's error
        return compose_without_local([f"experiment={name}"])


def compose_without_local(words: Sequence[str]) -> DictConfig:
    """Return what Hydra composes for words, without this machine's own settings."""
    has_local = _composer(GlobalHydra.instance().config_loader()).has_local
    return compose("config", [*words, *(["~local"] if has_local else [])])


def words_of(group: str, option: str) -> list[str]:
    """Return the options and settings of a file, `debug/smoke`, as they would be typed."""
    settings = _composer(GlobalHydra.instance().config_loader()).settings_of(f"{group}/{option}")
    chosen = [each for each in settings.pop("defaults", []) if isinstance(each, dict)]
    options = {key.removeprefix("override /"): each[key] for each in chosen for key in each}
    return [
        *(f"{key}={option}" for key, option in options.items()),
        *(word for key in settings for word in _typed(settings[key], key)),
    ]


def _typed(settings: Any, key: str) -> list[str]:  # noqa: ANN401
    if not isinstance(settings, dict):
        return [f"{key}={value_text(settings, grammar=True)}"]
    return [word for each, value in settings.items() for word in _typed(value, f"{key}.{each}")]


@lru_cache(maxsize=1)
def _composer(loader: ConfigLoader) -> "_Composer":
    return _Composer(loader)


class _Composer:
    """Composes configurations from the files on a search path, each of which is read once."""

    def __init__(self, loader: ConfigLoader) -> None:
        self._sources = loader.get_sources()
        self.has_local = self._has("local/default")
        self._schema = OmegaConf.structured(Schema)
        self._base = compose("config", ["~local"] if self.has_local else [])
        self._section = cache(self._merge_section)

    def settings_of(self, path: str) -> dict[str, Any]:
        if not self._has(path):
            return {}
        read = OmegaConf.to_container(self._read(path, "_global_"))
        assert isinstance(read, dict)
        return {str(key): read[key] for key in read}

    def compose(self, name: str) -> DictConfig:
        own = self._read(f"experiment/{name}", "_global_")
        config = copy.deepcopy(self._base)
        OmegaConf.set_struct(config, False)  # as Hydra merges files; what is typed stays so
        for default in own.pop("defaults", []):
            ((key, option),) = default.items()
            if step := re.fullmatch(r"/(\w+)@steps\.(\w+)\.(\w+)", key):
                group, place, section = step.groups()
                if group != section or group not in SECTIONS:
                    raise _NeedsHydraError
                config.merge_with({"steps": {place: {group: self._section(group, option)}}})
                continue
            group = key.removeprefix("override /")
            if group not in (*SECTIONS, "cluster") or group == key:
                raise _NeedsHydraError
            config[group] = self._section(group, option)
        with flag_override(config, "no_deepcopy_set_nodes", True):  # its nodes are not shared
            config.merge_with(own)
        OmegaConf.set_struct(config, True)
        return config

    def _merge_section(self, group: str, option: str) -> DictConfig:
        merged = OmegaConf.merge(self._schema, {group: self._file(group, option)})
        return cast(DictConfig, OmegaConf.select(merged, group))

    def _file(self, group: str, option: str) -> DictConfig:
        """Return an option of a group, merged onto the options in its defaults list."""
        own = self._read(f"{group}/{option}", None)
        others = own.pop("defaults", [])
        if not all(isinstance(each, str) and each != "_self_" for each in others):
            raise _NeedsHydraError
        merged = OmegaConf.merge(*(self._file(group, each) for each in others), own)
        return cast(DictConfig, merged)

    def _has(self, path: str) -> bool:
        return any(source.is_config(path) for source in self._sources)

    def _read(self, path: str, package: str | None) -> DictConfig:
        source = next(source for source in self._sources if source.is_config(path))
        read = source.load_config(path)
        if read.header["package"] != package or not isinstance(read.config, DictConfig):
            raise _NeedsHydraError
        return read.config
