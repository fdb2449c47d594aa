"""The code that a command line names with `plugins=`, and that nothing else can name."""

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from resnet_repro.errors import UserError
from resnet_repro.plugins.registry import load
from resnet_repro.settings.files import CODE

KEY = "plugins"


def load_named(config: DictConfig) -> None:
    """Import the plugins that the command line names.

    Args:
        config: The composed configuration; in it, a file could have set them too.

    Raises:
        UserError: A file of settings names plugins, or one of the command line cannot be imported.
    """
    words = [word for word in HydraConfig.get().overrides.task if word.startswith(f"{KEY}=")]
    if config[KEY] is not None and not words:
        raise UserError(f"a file of settings sets plugins={config[KEY]}: {CODE.format(KEY)}")
    value = OverridesParser.create().parse_override(words[-1]).value() if words else None
    named = value if isinstance(value, list) else [] if value is None else [value]
    load([str(each) for each in named])
