"""The weights that a run ended with; a finished classifier with how it is computed and its data."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from resnet_repro.data import Feed, Inputs, load_data, make_feed
from resnet_repro.distributed.group import Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.execution import Execution, choose_execution
from resnet_repro.engine.resume import check_state
from resnet_repro.models import build_model
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.records.errors import DamagedError, MissingWeightsError

logger = logging.getLogger("resnet_repro")


def restore_classifier(run: Run, folder: Path, group: Group) -> tuple[nn.Module, Execution, Feed]:
    """Return a finished network, how it is computed, and its data."""
    config = run.config
    model = build_model(config.model)
    inputs = load_final(model, run, folder)
    execution = choose_execution(config, group)
    model = execution.prepare(model)
    data = load_data(config.data)
    if group.is_main:
        warn_of_other_data(run, folder, data.checksum())
    return model, execution, make_feed(data, config, execution.device, group, inputs)


def warn_of_other_data(run: Run, folder: Path, checksum: str) -> None:
    """Warn where a finished run was trained with other data than are there.

    Args:
        run: The run.
        folder: Its folder.
        checksum: That of the data that are there.
    """
    trained_on = {session.get("data") for session in Record(folder).environment()} - {None}
    if trained_on and checksum not in trained_on:
        logger.warning(
            "%s was trained with other data (checksum %s, now %s): its earlier tests may be of "
            "other images, and a test may have images that it was trained on",
            *(run.id, ", ".join(sorted(map(str, trained_on))), checksum),
        )


def load_final(model: nn.Module, run: Run, folder: Path) -> Inputs:
    """Load into a network the weights that a run ended with; return the run's normalisation.

    Args:
        model: The run's network, on the CPU; changed in place.
        run: The run.
        folder: Its folder.

    Raises:
        MissingWeightsError: The run is not finished here, or its weights are missing.
        DamagedError: None of its checkpoints can be used, or they have other weights.
    """
    iterations = run.config.recipe.iterations
    state = final_state(run, folder, lambda found: check_state(found, model, iterations))
    model.load_state_dict(state["model"])
    return Inputs(**state["inputs"])


def final_state(run: Run, folder: Path, check: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return the checkpoint that a run ended with.

    Args:
        run: The run.
        folder: Its folder.
        check: Raises a ValueError if a checkpoint's content does not fit.

    Raises:
        MissingWeightsError: The run is not finished here, or its weights are missing.
        DamagedError: None of its checkpoints can be used, or they have other weights.
    """
    state = checkpoint.restore(folder, run.id, check)
    if state is None or state["progress"]["iteration"] < run.config.recipe.iterations:
        raise MissingWeightsError(
            f"the weights of {folder.name} are not here: copy last.pt back from where it was "
            f"trained, or delete its folder to train it again"
        )
    check_final(state, folder)
    return state


def check_final(state: dict[str, Any], folder: Path) -> None:
    """Check that a checkpoint of a run that has ended has the weights that it ended with.

    Raises:
        DamagedError: It has others.
    """
    end = Record(folder).last() or {}
    if end.get("weights") not in (None, checkpoint.state_hash(state["model"])):
        raise DamagedError(
            f"{folder / checkpoint.LAST} does not have the weights that the run ended with: copy "
            f"it again from where it was trained, or delete the folder to train it again"
        )
