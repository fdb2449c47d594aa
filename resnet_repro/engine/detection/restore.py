"""The networks that a detector's run starts from, or takes its regions from."""

import logging
from contextlib import ExitStack, closing
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_repro.data import Inputs
from resnet_repro.data.feed import batch_slice
from resnet_repro.detection.localisation.networks import (
    ClassProposer,
    ClassRegions,
    build_localiser,
)
from resnet_repro.detection.network import Detector, build_detector
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.evaluate import reestimated
from resnet_repro.engine.evaluate_imported import read_weights, torchvision_inputs
from resnet_repro.engine.execution import Execution, kept_precision
from resnet_repro.engine.restore import load_final, restore_classifier
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.layers import BatchNorm
from resnet_repro.models.published import describe_torchvision, from_torchvision
from resnet_repro.plan import Run
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


def new_localiser(config: RunConfig) -> ClassProposer | ClassRegions:
    """Return the network of a run of localisation, with newly initialised weights."""
    assert isinstance(config.model, ModelConfig), "checked with the settings"
    return build_localiser(config.model, config.detector)


def _new_network(config: RunConfig) -> nn.Module:
    if not config.detector.is_used:
        return build_model(config.model)
    return new_localiser(config) if config.detector.localises else new_detector(config)


def restore_network(run: Run, folder: Path, execution: Execution) -> tuple[nn.Module, Inputs]:
    """Return a finished run's network, in eval mode on the device, and its normalisation.

    Errors are those of `load_final`.
    """
    network = _new_network(run.config)
    inputs = load_final(network, run, folder)
    return execution.prepare(network).eval(), inputs.to(execution.device)


def load_start(
    detector: nn.Module, run: Run, results: Path, group: Group, stop: Flag | None = None
) -> Inputs:
    """Load into a detector what its run starts from, and return the normalisation for it.

    Args:
        detector: The detector, changed in place.
        run: Its run.
        results: The output root, which has the run that it starts from.
        group: The processes that train the run.
        stop: Whether a stop was requested.

    Raises:
        UserError: There are no such weights, or they do not fit.
        StoppedRun: A stop was requested while batch norm's statistics were computed.
    """
    if run.config.detector.weights is not None:
        _load(detector, from_torchvision(file_weights(run.config)), _file(run.config).name)
        return torchvision_inputs()
    if not run.needs:
        return torchvision_inputs()
    first, num_images = run.needs[0], run.config.detector.batch_norm_images
    folder = run_folder(first, results)
    is_detector = first.config.detector.is_used
    other = _new_network(first.config)
    has_averages = any(isinstance(each, BatchNorm) for each in other.modules())
    if num_images and has_averages and not is_detector:
        state, inputs = _reestimated(first, folder, num_images, group, stop)
    else:
        inputs, state = load_final(other, first, folder), other.state_dict()
    _load(detector, state, first.id)
    return inputs


def file_weights(config: RunConfig) -> dict[str, Tensor]:
    """Return the weights of the file that a run starts from, in torchvision's names.

    Raises:
        UserError: The file cannot be read, is another one than was planned, or is of another
            network.
    """
    path, model = _file(config), config.model
    assert isinstance(model, ModelConfig), "checked with the settings"
    if path.is_file():
        with path.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() != config.detector.weights_sha256:
                raise UserError(
                    f"{path} is another file than was planned (its SHA-256 is not "
                    f"{config.detector.weights_sha256}): repeat the command if it was replaced"
                )
    weights = read_weights(path)
    found = describe_torchvision(weights)
    compared = ["name", "depth", "cardinality"]
    if found.has_bottlenecks and model.has_bottlenecks:
        compared.append("stride_in")
    # A ResNet's rows beside a ResNeXt's are written as what they are the same as, 1x64d.
    own = replace(model, cardinality=None) if model.cardinality == "1x64d" else model
    differ = [each for each in compared if getattr(found, each) != getattr(own, each)]
    if differ:
        has = ", ".join(f"model.{each}={getattr(found, each)}" for each in differ)
        wants = ", ".join(str(getattr(model, each)) for each in differ)
        raise UserError(
            f"{path.name} does not fit the detector: it has {has}, and the run {wants}; it must be "
            f"the same network"
        )
    return weights


def _file(config: RunConfig) -> Path:
    assert config.detector.weights is not None
    return Path(config.detector.weights)


def _reestimated(
    run: Run, folder: Path, num_images: int, group: Group, stop: Flag | None
) -> tuple[dict[str, Tensor], Inputs]:
    """Return a classifier's weights, with batch norm's statistics over some training images."""
    recipe = run.config.recipe
    with ExitStack() as stack:
        stack.enter_context(kept_precision())  # it is computed in its own
        model, execution, feed = restore_classifier(run, folder, _sharing(run.config, group))
        last = -(-num_images // recipe.batch_size)
        batches = stack.enter_context(closing(feed.train(0, last)))
        stack.enter_context(reestimated(model, batches, recipe.bn_batch, execution, group, stop))
        state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return state, feed.inputs


def _sharing(config: RunConfig, group: Group) -> Group:
    """Return the processes among which a classifier's mini-batches are divided.

    They are those that train the detector. If they cannot divide the mini-batches evenly, each has
    whole ones: a group of one, on this process's device. All then find the same statistics.
    """
    try:
        batch_slice(config.recipe, group)
    except UserError:
        return replace(group, rank=0, size=1)
    return group


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
    blocks = {_block(name) for name in own}
    stages = {block[:1] for block in blocks}
    deeper = [n for n in weights if _block(n)[:1] in stages and _block(n) not in blocks]
    if deeper:
        raise UserError(
            f"{source} does not fit the detector: it has more blocks, such as that of {deeper[0]}; "
            f"it must be the same network"
        )
    with torch.no_grad():
        detector.load_state_dict({**own, **fitting})
    logger.info("%d of %d tensors from %s", len(fitting), len(own), source)


def _block(name: str) -> tuple[str, ...]:
    """Return the stage and the block of a weight's name; () of other weights."""
    parts = name.split(".")
    return tuple(parts[1:3]) if parts[0] == "stages" else ()
