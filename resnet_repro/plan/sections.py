"""The sections of a run's settings, each made once for all rows that change it alike."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError
from resnet_repro.settings.external_model import parse_model
from resnet_repro.settings.mistakes import locate
from resnet_repro.settings.run import SECTIONS
from resnet_repro.settings.sweep import Values

_REFERENCE = re.compile(r"\$\{\.*(\w+)")


class Sections:
    """The sections of a run as an experiment has them, before a row changes some.

    To check one takes milliseconds. A table has dozens of rows and a sweep thousands, most of which
    have most sections in common: each is checked once for all rows that change it alike.

    Attributes:
        config: All sections.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = OmegaConf.masked_copy(config, list(SECTIONS))
        texts = {name: str(self.config._get_node(name)) for name in SECTIONS}
        # `model.num_classes: ${data.num_classes}` follows what a row sets in another section.
        follows = {name: {*_REFERENCE.findall(text)} & {*SECTIONS} for name, text in texts.items()}
        follows["model"].add("data")  # a plugin's network is made for images of some size
        self._sources = {name: _reached(name, follows) for name in SECTIONS}
        self._made: dict[str, Any] = {}
        self._copies: dict[str, DictConfig] = {}

    def make(self, changes: Sequence[tuple[str, Any]], point: Values = ()) -> dict[str, Any]:
        """Return the sections with some settings changed, in order, those of a point last.

        Raises:
            OmegaConfBaseException: A change has a wrong name or type.
            UserError: A value is missing or out of range.
        """
        return {name: self.section(name, changes, point) for name in SECTIONS}

    def section(self, name: str, changes: Sequence[tuple[str, Any]], point: Values) -> Any:  # noqa: ANN401
        """Return one of the sections; see `make`."""
        own, swept = (tuple(e for e in each if e[0].split(".")[0] in self._sources[name])
                      for each in (changes, point))  # fmt: skip
        asked = f"{name} {own} {swept}"
        if asked not in self._made:
            self._made[asked] = self._make(name, own, swept)
        return self._made[asked]

    def _make(self, name: str, changes: Sequence[tuple[str, Any]], point: Values) -> Any:  # noqa: ANN401
        # A copy takes longest. The next point sets the same keys again.
        can_stay = not any(isinstance(value, dict) for _, value in point)
        key = f"{name} {changes} {[key for key, _ in point]}"
        changed = self._copies.pop(key, None)
        if changed is None:
            changed = OmegaConf.masked_copy(self.config, list(self._sources[name]))
            change = OmegaConf.create()
            for each, value in changes:
                OmegaConf.update(change, each, value)
            changed.merge_with(change)
        for each, value in point:
            OmegaConf.update(changed, each, value)
        try:
            # Composed sections are typed by the schema, so OmegaConf creates their dataclasses.
            made = (
                parse_model(changed.model, changed.data)
                if name == "model"
                else OmegaConf.to_object(changed[name])
            )
        except OmegaConfBaseException as error:
            raise UserError(locate(error)) from error
        if can_stay:
            self._copies[key] = changed
        return made


def _reached(name: str, follows: Mapping[str, set[str]]) -> set[str]:
    """Return a section and those that its values are taken from, directly or not."""
    found, new = {name}, {name}
    while new:
        new = set().union(*(follows[each] for each in new)) - found
        found |= new
    return found
