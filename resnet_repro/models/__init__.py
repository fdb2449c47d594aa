"""The registry of networks: ours, and those that plugins register."""

from torch import nn

from resnet_repro.errors import UserError
from resnet_repro.models.external import build_external
from resnet_repro.models.resnet import cifar_resnet, imagenet_resnet
from resnet_repro.models.vgg import vgg16
from resnet_repro.plugins.registry import register
from resnet_repro.settings.external_model import ExternalModelConfig, Model

__all__ = ["MODELS", "build_model", "register"]

MODELS = {"cifar_resnet": cifar_resnet, "imagenet_resnet": imagenet_resnet, "vgg16": vgg16}


def build_model(config: Model) -> nn.Module:
    """Build the network that `config.name` names, with newly initialised weights.

    Raises:
        UserError: There is no such network, or one that is not ours cannot be built.
    """
    if isinstance(config, ExternalModelConfig):
        return build_external(config)
    if config.name not in MODELS:
        raise UserError(f"model.name={config.name}: it can be {', '.join(MODELS)}")
    return MODELS[config.name](config)
