"""Testing weights that others trained: recorded as imported, never as a result of ours."""

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torchvision
from omegaconf import OmegaConf
from torch import Tensor

from resnet_repro.config import RunConfig
from resnet_repro.data import Inputs, load_data, make_feed
from resnet_repro.distributed import ALONE, Group
from resnet_repro.engine.evaluate import Classifier, count_errors, predict
from resnet_repro.engine.execution import choose_execution
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.published import from_torchvision
from resnet_repro.records import Record, write_atomically

logger = logging.getLogger("resnet_repro")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict, as torchvision publishes them.

    Raises:
        UserError: It is no such file.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"weights={path}: there is no such file") from error
    except Exception as error:  # torch raises a dozen kinds on files that are none of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = type(error).__name__
        raise UserError(
            f"weights={path} is no file of weights that torch can read ({kind}: {reason})"
        ) from error
    if isinstance(weights, dict) and isinstance(weights.get("state_dict"), dict):
        weights = weights["state_dict"]  # as many training scripts save it
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise UserError(f"weights={path} is no state dict: names and tensors, as torchvision's are")
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}


def evaluate_file(path: Path, config: RunConfig, results: Path, group: Group = ALONE) -> None:
    """Test published weights by a protocol, and record it in `<results>/imported`.

    Args:
        path: A torchvision ResNet's or ResNeXt's state dict.
        config: Data, protocol and device, and the network that the weights describe.
        results: The output root.
        group: The processes that share the test.

    Raises:
        UserError: The file is none, or its weights do not fit the network.
    """
    weights = read_weights(path)
    execution = choose_execution(config, group)
    model = build_model(config.model)
    try:
        model.load_state_dict(from_torchvision(weights))
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip()
        raise UserError(f"{path.name} does not fit {name_of(config)}: {reason}") from error
    classifier = Classifier(execution.place(model), execution)
    data, inputs = load_data(config.data), torchvision_inputs()
    feed = make_feed(data, config, execution.device, group, inputs)
    scores = predict(classifier, feed, config.evaluation, group.stop)
    counts = count_errors(scores, feed.test_labels, group)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    folder = results / "imported" / f"{path.stem}-{digest[:8]}"
    if group.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "config.yaml", OmegaConf.to_yaml(asdict(config)))
    record = Record(folder, writes=group.is_main)
    record.add_evaluation(
        config.evaluation.key,
        **counts,
        imported=path.name,
        sha256=digest,
        network=name_of(config),
        data=config.data.title,
        published=_published(path),
    )


def torchvision_inputs() -> Inputs:
    """Return the means and standard deviations that torchvision's weights expect."""
    preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    return Inputs(*(torch.tensor(each).view(3, 1, 1) for each in (preset.mean, preset.std)))


def name_of(config: RunConfig) -> str:
    """Return a network's name: `ResNet-50`, `ResNeXt-50 32x4d`."""
    cardinality = config.model.cardinality
    kind, groups = ("ResNet", "") if cardinality is None else ("ResNeXt", f" {cardinality}")
    return f"{kind}-{config.model.depth}{groups}"


def _published(path: Path) -> dict[str, Any] | None:
    """Return what torchvision says of a file of its own, by the file's name: errors in %."""
    for name in torchvision.models.list_models(include="res*"):
        for weights in torchvision.models.get_model_weights(name):
            if weights.url.rsplit("/", 1)[-1] == path.name:
                accuracy = weights.meta["_metrics"]["ImageNet-1K"]
                preset = weights.transforms()
                return {
                    "weights": str(weights),
                    "error": round(100 - accuracy["acc@1"], 3),
                    "top5": round(100 - accuracy["acc@5"], 3),
                    "protocol": f"one_crop {preset.crop_size[0]}/{preset.resize_size[0]}",
                }
    return None
