"""The networks that a detector's run starts from, or takes its regions from."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from torch import Tensor

from resnet_repro.data import Inputs
from resnet_repro.detection.network import Detector, build_detector
from resnet_repro.distributed.group import Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.evaluate import reestimated
from resnet_repro.engine.evaluate_imported import read_weights, torchvision_inputs
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.restore import restore_classifier
from resnet_repro.engine.resume import check_state
from resnet_repro.errors import UserError
from resnet_repro.models.layers import BatchNorm
from resnet_repro.models.published import from_torchvision
from resnet_repro.plan import Run
from resnet_repro.records import MissingWeightsError
from resnet_repro.records.runs import run_folder
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")


def new_detector(config: RunConfig) -> Detector:
    """Return the detector of a run, with newly initialised weights, as its step trains it."""
    assert isinstance(config.model, ModelConfig), "checked with the settings"
    detector = build_detector(config.model, config.detector)
    detector.trains(config.detector.step, config.detector.frozen)
    return detector


def restore_detector(run: Run, folder: Path, execution: Execution) -> tuple[Detector, Inputs]:
    """Return a finished run's detector, in eval mode on the device, and its normalisation.

    Raises:
        MissingWeightsError: The run is not finished here, or its weights are missing.
        UserError: None of its checkpoints can be used.
    """
    detector = new_detector(run.config)
    iterations = run.config.recipe.iterations
    state = checkpoint.restore(
        folder, run.id, lambda found: check_state(found, detector, iterations)
    )
    if state is None or state["progress"]["iteration"] < iterations:
        raise MissingWeightsError(
            f"the weights of {run.id} are not here: train that run, or restore its last.pt from "
            f"where it was trained"
        )
    detector.load_state_dict(state["model"])
    inputs = Inputs(**state["inputs"])
    return execution.prepare(detector).eval(), inputs.to(execution.device)


def load_start(
    detector: Detector, run: Run, results: Path, execution: Execution, group: Group
) -> Inputs:
    """Load into a detector what its run starts from, and return the normalisation for it.

    Args:
        detector: The detector, changed in place.
        run: Its run.
        results: The output root, which has the run that it starts from.
        execution: The way networks are computed.
        group: The processes that train the run.

    Raises:
        UserError: There are no such weights, or they do not fit.
    """
    file = run.config.detector.weights
    if file is not None:
        _load(detector, from_torchvision(read_weights(Path(file))), Path(file).name)
        return torchvision_inputs()
    starts = [each for each in run.needs if each.config.detector.step != "proposals"]
    if not run.needs:
        return torchvision_inputs()
    first = (starts or list(run.needs))[0]
    folder = run_folder(first, results)
    if first.config.detector.is_used:
        other, inputs = restore_detector(first, folder, execution)
        _load(detector, other.state_dict(), first.id)
        return inputs
    state, inputs = _classifier(first, folder, run.config.detector.batch_norm_images, group)
    _load(detector, state, first.id)
    return inputs


def _classifier(
    run: Run, folder: Path, num_images: int, group: Group
) -> tuple[dict[str, Tensor], Inputs]:
    """Return a classifier's weights, with batch norm's statistics over some training images."""
    model, execution, feed = restore_classifier(run, folder, group)
    with ExitStack() as stack:
        if num_images and any(isinstance(each, BatchNorm) for each in model.modules()):
            recipe = run.config.recipe
            last = -(-num_images // recipe.batch_size)
            batches = stack.enter_context(closing(feed.train(0, last)))
            stack.enter_context(reestimated(model, batches, recipe.bn_batch, execution, group))
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return state, feed.inputs


def _load(detector: Detector, weights: dict[str, Tensor], source: str) -> None:
    own = detector.state_dict()
    fitting = {n: t for n, t in weights.items() if n in own and own[n].shape == t.shape}
    shared = [name for name in own if name.startswith(("stem.", "stages.", "hidden."))]
    missing = [name for name in shared if name not in fitting]
    if missing:
        raise UserError(
            f"{source} does not fit the detector: it has no {missing[0]} of that shape; it must be "
            f"the same network"
        )
    with torch.no_grad():
        detector.load_state_dict({**own, **fitting})
    logger.info("%d of %d tensors from %s", len(fitting), len(own), source)
