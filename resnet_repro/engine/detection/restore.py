"""The networks that a detector's run starts from, or takes its regions from."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_repro.data import Inputs
from resnet_repro.detection.localisation.networks import build_localiser
from resnet_repro.detection.network import Detector, build_detector
from resnet_repro.distributed.group import Group
from resnet_repro.engine.evaluate import reestimated
from resnet_repro.engine.evaluate_imported import read_weights, torchvision_inputs
from resnet_repro.engine.execution import Execution, kept_precision
from resnet_repro.engine.restore import load_final, restore_classifier
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.layers import BatchNorm
from resnet_repro.models.published import from_torchvision
from resnet_repro.plan import Run
from resnet_repro.records.runs import run_folder
from resnet_repro.settings.detector import LOCALISATION
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")


def new_detector(config: RunConfig) -> Detector:
    """Return the detector of a run, with newly initialised weights, as its step trains it."""
    assert isinstance(config.model, ModelConfig), "checked with the settings"
    detector = build_detector(config.model, config.detector)
    detector.trains(config.detector.step, config.detector.frozen)
    return detector


def _new_network(config: RunConfig) -> nn.Module:
    if not config.detector.is_used:
        return build_model(config.model)
    if config.detector.step in LOCALISATION:
        assert isinstance(config.model, ModelConfig), "checked with the settings"
        return build_localiser(config.model, config.detector)
    return new_detector(config)


def restore_detector(run: Run, folder: Path, execution: Execution) -> tuple[Detector, Inputs]:
    """Return a finished run's detector, in eval mode on the device, and its normalisation.

    Errors are those of `load_final`.
    """
    detector = new_detector(run.config)
    inputs = load_final(detector, run, folder)
    return execution.prepare(detector).eval(), inputs.to(execution.device)


def load_start(detector: nn.Module, run: Run, results: Path, group: Group) -> Inputs:
    """Load into a detector what its run starts from, and return the normalisation for it.

    Args:
        detector: The detector, changed in place.
        run: Its run.
        results: The output root, which has the run that it starts from.
        group: The processes that train the run.

    Raises:
        UserError: There are no such weights, or they do not fit.
    """
    file = run.config.detector.weights
    if file is not None:
        _load(detector, from_torchvision(read_weights(Path(file))), Path(file).name)
        return torchvision_inputs()
    if not run.needs:
        return torchvision_inputs()
    first, num_images = run.needs[0], run.config.detector.batch_norm_images
    folder = run_folder(first, results)
    is_detector = first.config.detector.is_used
    other = _new_network(first.config)
    has_averages = any(isinstance(each, BatchNorm) for each in other.modules())
    if num_images and has_averages and not is_detector:
        state, inputs = _reestimated(first, folder, num_images, group)
    else:
        inputs, state = load_final(other, first, folder), other.state_dict()
    _load(detector, state, first.id)
    return inputs


def _reestimated(
    run: Run, folder: Path, num_images: int, group: Group
) -> tuple[dict[str, Tensor], Inputs]:
    """Return a classifier's weights, with batch norm's statistics over some training images."""
    recipe = run.config.recipe
    with ExitStack() as stack:
        stack.enter_context(kept_precision())  # it is computed in its own
        model, execution, feed = restore_classifier(run, folder, group)
        last = -(-num_images // recipe.batch_size)
        batches = stack.enter_context(closing(feed.train(0, last)))
        stack.enter_context(reestimated(model, batches, recipe.bn_batch, execution, group))
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return state, feed.inputs


def _load(detector: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    own = detector.state_dict()
    fitting = {n: t for n, t in weights.items() if n in own and own[n].shape == t.shape}
    shared = [name for name in own if name.startswith(("stem.", "stages.", "hidden."))]
    # torchvision's older files have no counters of batch norm, which nothing reads.
    missing = [n for n in shared if n not in fitting and not n.endswith("num_batches_tracked")]
    if missing:
        raise UserError(
            f"{source} does not fit the detector: it has no {missing[0]} of that shape; it must be "
            f"the same network"
        )
    with torch.no_grad():
        detector.load_state_dict({**own, **fitting})
    logger.info("%d of %d tensors from %s", len(fitting), len(own), source)
