"""Published weights in torchvision's names, converted for our networks."""

import re
from collections.abc import Mapping

from torch import Tensor

from resnet_repro.errors import UserError
from resnet_repro.models.resnet import IMAGENET_STAGES
from resnet_repro.models.vgg import VGG16_STAGES
from resnet_repro.settings.model import ModelConfig

# torchvision's names on the left; layer1 is our stages.0.
RENAMED = (
    (r"^conv1\.", "stem.conv."),
    (r"^bn1\.", "stem.bn."),
    (r"^layer(\d)\.(\d+)\.downsample\.0\.", r"layer\1.\2.shortcut.conv."),
    (r"^layer(\d)\.(\d+)\.downsample\.1\.", r"layer\1.\2.shortcut.bn."),
    (r"^layer(\d)\.(\d+)\.((?:conv|bn)\d)\.", r"layer\1.\2.residual.\3."),
)


def _vgg16_layers() -> dict[str, str]:
    """Return torchvision's names of VGG-16's layers, and ours: theirs are numbered, with ReLUs."""
    names, position = {}, 0
    for stage, num_layers in enumerate(VGG16_STAGES):
        for number in range(1, num_layers + 1):
            names[f"features.{position}"] = f"stages.{stage}.conv{number}"
            position += 2
        position += 1  # the pooling
    return names | {
        "classifier.0": "hidden.fc6",
        "classifier.3": "hidden.fc7",
        "classifier.6": "fc",
    }


VGG16_LAYERS = _vgg16_layers()

# Keys of the weights in the checkpoints of training scripts, most common first.
HOLDERS = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights")
DEEPEST = 4  # of one in another
# Prefixes of DistributedDataParallel, torch.compile, Lightning, FSDP and recomputation.
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|model|_\w+_wrapped_module)\.")


def find_state_dict(loaded: object) -> dict[str, Tensor] | None:
    """Return the state dict in a file's content, with the names of the unwrapped network."""
    for _ in range(DEEPEST):
        if isinstance(loaded, Mapping) and not _is_state_dict(loaded):
            loaded = next((loaded[name] for name in HOLDERS if name in loaded), None)
    if not isinstance(loaded, Mapping) or not _is_state_dict(loaded):
        return None
    weights = {WRAPPERS.sub("", name): tensor for name, tensor in loaded.items()}
    weights.pop("n_averaged", None)  # the counter of torch's AveragedModel
    return weights


def _is_state_dict(mapping: Mapping[object, object]) -> bool:
    return len(mapping) > 0 and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in mapping.items()
    )


def from_torchvision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a torchvision ResNet, ResNeXt or VGG-16 under our names."""
    return {_our_name(name): tensor for name, tensor in weights.items()}


def _our_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    if layer in VGG16_LAYERS:
        return f"{VGG16_LAYERS[layer]}.{kind}"
    for theirs, ours in RENAMED:
        name = re.sub(theirs, ours, name)
    return re.sub(r"^layer(\d)", lambda match: f"stages.{int(match[1]) - 1}", name)


def describe_torchvision(weights: Mapping[str, Tensor]) -> ModelConfig:
    """Return the settings of the network for torchvision's weights of a ResNet, ResNeXt or VGG-16.

    torchvision's bottlenecks have their stride in the 3x3.

    Raises:
        UserError: The weights are not those of such a network.
    """
    try:
        return _described(weights)
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(
            f"these are not the weights of a torchvision ResNet, ResNeXt or vgg16: a layer is "
            f"missing or has another shape ({error})"
        ) from error


def _described(weights: Mapping[str, Tensor]) -> ModelConfig:
    if {name.rpartition(".")[0] for name in weights} == VGG16_LAYERS.keys():
        classes = len(weights["classifier.6.weight"])
        return ModelConfig(name="vgg16", depth=16, shortcut="none", width=64, num_classes=classes)
    blocks = {m.groups() for name in weights if (m := re.match(r"layer(\d)\.(\d+)\.", name))}
    stages = [sum(stage == str(number) for stage, _ in blocks) for number in (1, 2, 3, 4)]
    bottleneck = "layer1.0.conv3.weight" in weights
    block = "bottleneck" if bottleneck else "basic"
    depths = [d for d, each in IMAGENET_STAGES.items() if each == (stages, block)]
    if "stem.conv.weight" in weights:
        raise UserError("these are weights of a run of ours: use `evaluate`, not `import`")
    if not depths or "fc.weight" not in weights:
        raise UserError(
            f"these are not the weights of a torchvision ResNet or ResNeXt with 18, 34, 50, 101 or "
            f"152 layers, nor of its vgg16: they have {stages} blocks in layer1 to layer4"
        )
    cardinality = None
    if bottleneck:
        width, per_group = weights["layer1.0.conv2.weight"].shape[:2]
        if (width, per_group) != (64, 64):
            cardinality = f"{width // per_group}x{per_group}d"
    return ModelConfig(
        name="imagenet_resnet",
        depth=depths[0],
        shortcut="B",
        width=64,
        stride_in="3x3" if bottleneck else "1x1",
        cardinality=cardinality,
        num_classes=len(weights["fc.weight"]),
    )
