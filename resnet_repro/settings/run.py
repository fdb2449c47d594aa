"""The settings of one run: what each means, its unit, and what it may be.

The dataclasses are the schema of `conf/`: Hydra composes the files onto them, so a misspelt key or
a word where a number belongs is refused when the configuration is put together. `parse` makes the
checked `RunConfig` that the rest of the program is handed; nothing changes one after that. (They
are not frozen only because OmegaConf makes read-only nodes of frozen ones, and nothing composes
onto those.)

A field marked `FREE` may differ between two machines that do the same run: it is not in the run's
identity. Every other field is, unless it holds its default; a field added later with a default that
means "as before" therefore leaves every old run its id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError, require
from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.identity import FREE, identity_fields
from resnet_repro.settings.mistakes import locate
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.recipe import RecipeConfig


@dataclass(kw_only=True)
class RunConfig:
    """One network, trained once."""

    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    recipe: RecipeConfig = MISSING
    evaluation: EvaluationConfig = field(default=MISSING, metadata=FREE)
    compute: ComputeConfig = field(default=MISSING, metadata=FREE)
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            self.model.num_classes == self.data.num_classes,
            f"model.num_classes={self.model.num_classes} follows data.num_classes="
            f"{self.data.num_classes}: set that one",
        )
        if self.data.is_streamed:
            require(
                self.recipe.crop_padding == 0,
                f"recipe.crop_padding={self.recipe.crop_padding} is for images held in memory, and "
                f"{self.data.title} holds photographs: say recipe=imagenet_msra",
            )
            require(
                self.evaluation.protocol != "single_view",
                "evaluation.protocol=single_view is for images held in memory; photographs take "
                "evaluation=one_crop, ten_crop or multi_scale",
            )
        else:
            require(
                not self.recipe.photo.is_used,
                f"recipe.photo takes views of photographs, and {self.data.title} is held in "
                f"memory: say recipe=cifar_64k, or data=imagenet for photographs",
            )
            require(
                self.evaluation.protocol == "single_view",
                f"evaluation.protocol={self.evaluation.protocol} takes views of photographs; "
                f"{self.data.title} is held in memory and tested with evaluation=single_view",
            )
        scale, size = self.recipe.photo.scale, self.data.image_size
        require(
            scale is None or scale[0] >= size,
            f"recipe.photo.scale={scale and list(scale)}: a crop of data.image_size={size} "
            f"does not fit into the smallest",
        )

    def identity(self, *, defaults: bool = False) -> dict[str, Any]:
        """Return what the weights depend on, flat: `{"model.depth": 20, ...}`.

        Args:
            defaults: Also the fields that hold their default.
        """
        return dict(identity_fields(self, defaults))


SECTIONS = tuple(item.name for item in fields(RunConfig) if item.name != "seed")


def parse(config: DictConfig, settled: Mapping[str, Any] | None = None) -> RunConfig:
    """Check a composed configuration and make a value of it.

    Args:
        config: At least the sections of a run; others (the experiment's) are left out.
        settled: Sections that are values already, in place of those in `config`.

    Raises:
        UserError: A value is missing, of the wrong type or out of range.
    """
    try:
        # Composed sections are typed by the schema, and make their dataclasses themselves.
        others = (name for name in SECTIONS if name not in (settled or {}))
        made: dict[str, Any] = {name: OmegaConf.to_object(config[name]) for name in others}
        return RunConfig(**made, **(settled or {}))
    except OmegaConfBaseException as error:
        raise UserError(locate(error)) from error
