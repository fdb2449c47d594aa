"""Testing weights that others trained: recorded as imported, never as our own result."""

import logging
import re
import warnings
from argparse import Namespace
from dataclasses import asdict
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
import torchvision
from omegaconf import OmegaConf
from torch import Tensor

from resnet_repro.data import Inputs, load_data, make_feed
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine.classification import count_errors
from resnet_repro.engine.evaluate import Classifier, decoded_by, predict
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.signals import stop_signals
from resnet_repro.errors import UserError
from resnet_repro.files import write_atomically
from resnet_repro.models import build_model
from resnet_repro.models.published import find_state_dict, from_torchvision
from resnet_repro.plan.names import digest as hashed
from resnet_repro.plan.names import slug
from resnet_repro.records import Record
from resnet_repro.settings.data import IMAGENET
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights: a state dict, or a checkpoint with one, in torchvision's names.

    Raises:
        UserError: It is not such a file, or its values are impossible for a network.
    """
    if not path.is_file():
        what = "that is not a file" if path.exists() else "there is no such file"
        raise UserError(f"weights={path}: {what}")
    try:
        # Namespace: torchvision's training script saves its arguments with the weights.
        with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"weights={path} cannot be read: {error.strerror}") from error
    except Exception as error:  # torch raises a dozen kinds on other files
        raise UserError(f"weights={path} {_what_it_is(str(error))}") from error
    weights = find_state_dict(loaded)
    if weights is None:
        keys = ", ".join(map(str, list(loaded)[:5])) if isinstance(loaded, dict) else ""
        raise UserError(
            f"weights={path} has no state dict (names and tensors), nor one under state_dict or "
            f"model; it has {keys or type(loaded).__name__}"
        )
    for name, tensor in weights.items():
        wrong = _impossible(name, tensor)
        if wrong:
            raise UserError(f"weights={path}: {name} {wrong}")
    return weights


def _what_it_is(message: str) -> str:
    """Describe a file that torch refused; torch's own advice is to read it unsafely."""
    alone = "Save only the weights where it was made: torch.save(model.state_dict(), FILE)"
    unknown = re.search(r"GLOBAL (\S+)", message)
    if unknown:
        return (
            f"contains Python objects ({unknown[1]}), not only weights.\nReading those can run any "
            f"code, so it is not read. {alone}"
        )
    if "TorchScript" in message:
        return f"is a TorchScript program.\n{alone}"
    if "safetensors" in message:
        return "is a safetensors file; `pip install safetensors` to read it"
    return "is not a file of weights that torch.save wrote, or is damaged"


def _impossible(name: str, tensor: Tensor) -> str | None:
    """Return why these values are impossible for a network, or None if they are possible."""
    if name.endswith("num_batches_tracked"):
        return None
    if not tensor.is_floating_point():
        return f"has {str(tensor.dtype).removeprefix('torch.')}, not floating-point numbers"
    if not tensor.float().isfinite().all():
        return "has nan or infinity: the file is damaged, or its training diverged"
    if name.endswith("running_var") and (tensor < 0).any():
        return "has variances below zero: the file is damaged"
    return None


def _read_with_hash(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return a file's weights and its SHA-256, of the same content."""
    before = _about(path)
    weights = read_weights(path)
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    if _about(path) != before:
        raise UserError(f"weights={path} was changed while it was read: run the command again")
    return weights, digest


def _about(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:  # reported when it is read
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def evaluate_file(
    path: Path, config: RunConfig, results: Path, group: Group = SINGLE_PROCESS
) -> None:
    """Test published weights by a protocol, and record the result in `<results>/imported`.

    Args:
        path: The file of the state dict of a torchvision ResNet, ResNeXt or VGG-16.
        config: The data, protocol, device and network.
        results: The output root.
        group: The processes that share the test.

    Raises:
        UserError: The file cannot be read, or its weights do not fit the network.
    """
    weights, digest = _read_with_hash(path)
    execution = choose_execution(config, group)
    model = build_model(config.model)
    try:
        model.load_state_dict(from_torchvision(weights))
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip()
        raise UserError(f"{path.name} does not fit {name_of(config)}: {reason}") from error
    classifier = Classifier(execution.prepare(model), execution)
    data, inputs = load_data(config.data), torchvision_inputs()
    feed = make_feed(data, config, execution.device, group, inputs)
    with stop_signals(group.stop) as stop:
        scores = predict(classifier, feed, config.evaluation, stop, group)
    counts = count_errors(scores, feed.test_labels, group)
    # Its tests by one protocol on several sets of photographs are several results.
    title = config.data.title
    of = "" if title == IMAGENET else f"-{slug(title)}-{hashed(title)[:4]}"
    folder = results / "imported" / f"{path.stem}-{digest[:8]}{of}"
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
        **decoded_by(config),
    )


def torchvision_inputs() -> Inputs:
    """Return the normalisation that torchvision's weights expect."""
    preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    return Inputs(*(torch.tensor(each).view(3, 1, 1) for each in (preset.mean, preset.std)))


def name_of(config: RunConfig) -> str:
    """Return a network's name: `ResNet-50`, `ResNeXt-50 32x4d`, `VGG-16`."""
    assert isinstance(config.model, ModelConfig), "published weights are read into our networks"
    if config.model.name == "vgg16":
        return "VGG-16"
    cardinality = config.model.cardinality
    kind, groups = ("ResNet", "") if cardinality is None else ("ResNeXt", f" {cardinality}")
    return f"{kind}-{config.model.depth}{groups}"


def _published(path: Path) -> dict[str, Any] | None:
    """Return torchvision's numbers for a file of its own, found by name: errors in %."""
    for name in torchvision.models.list_models(include=["res*", "vgg16"]):
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
