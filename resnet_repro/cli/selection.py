"""Whether a verb can take the words that select runs, or what they change."""

from collections.abc import Iterable

from omegaconf import DictConfig

from resnet_repro.errors import UserError
from resnet_repro.settings.run import SECTIONS

# What says which runs of which experiment.
OF_PLANS = ("experiment", "row", "seeds", "sweep", "baseline", "steps", "every_step", "debug",
            *SECTIONS)  # fmt: skip
# Verbs that plan nothing, and what they take instead.
OF_ALL = {
    "list": "lists all experiments",
    "report": "shows all experiments that results=DIR has",
    "compare": "compares all that the folders have in common",
    "collect": "takes all runs",
}
WITH_FOLDERS = {
    "verify": "checks all tables of the folders that are named",
    "logs": "prints the logs of the runs that are named",
}
OF_CLUSTERS = ("submit", "status", "cancel", "logs")


def check_selection(verb: str, config: DictConfig, words: Iterable[str]) -> None:
    """Check that no word is without an effect.

    Args:
        verb: The verb.
        config: The composed configuration.
        words: The settings of the command line.

    Raises:
        UserError: There is one.
    """
    does = OF_ALL.get(verb) or (WITH_FOLDERS.get(verb) if config.folders else None)
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        section = key.partition(".")[0]
        if does and (section in OF_PLANS or key == "state"):
            raise UserError(f"{word}: `{verb}` {does}: leave {key} out")
        if section == "cluster" and verb not in OF_CLUSTERS:
            raise UserError(
                f"{word}: `{verb}` works on this machine: leave {key} out, or use `submit`"
            )
