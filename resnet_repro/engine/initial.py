"""Weights that a run starts from: those that another run ended with."""

import logging
from pathlib import Path

from torch import nn

from resnet_repro.engine.restore import final_state
from resnet_repro.errors import UserError
from resnet_repro.plan import Run
from resnet_repro.records.errors import MissingWeightsError
from resnet_repro.records.runs import run_state

logger = logging.getLogger("resnet_repro")


def load_needed(model: nn.Module, run: Run, results: Path) -> None:
    """Load into a network the final weights of the runs that its run needs.

    Tensors go by name; one that has another shape, as a classifier for other classes, or that the
    other network lacks, stays as it is initialised.

    Args:
        model: The run's network, on any device; changed in place.
        run: The run.
        results: The output root, which has the needed runs.

    Raises:
        UserError: A needed run is not finished here, its weights are missing or other ones, or none
            of them fit.
    """
    own = model.state_dict()
    for needed in run.needs:
        found = run_state(needed, results)
        if not found.is_finished:
            raise MissingWeightsError(
                f"{run.id} starts from the weights of {needed.id}, which is not finished here"
            )
        state = final_state(needed, found.folder, lambda _: None)
        weights = {
            name: tensor
            for name, tensor in state["model"].items()
            if name in own and own[name].shape == tensor.shape
        }
        if not weights:
            raise UserError(f"{run.id} starts from {needed.id}: no tensor has the same name and "
                            f"shape in both networks")  # fmt: skip
        model.load_state_dict({**own, **weights})
        own = model.state_dict()
        logger.info(
            "%s: %d of %d tensors from %s", run.id, len(weights), len(own), found.folder.name
        )
