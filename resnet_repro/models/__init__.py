"""The registry of networks."""

from resnet_repro.errors import UserError
from resnet_repro.models.resnet import ResNet, cifar_resnet, imagenet_resnet
from resnet_repro.settings.model import ModelConfig

MODELS = {"cifar_resnet": cifar_resnet, "imagenet_resnet": imagenet_resnet}


def build_model(config: ModelConfig) -> ResNet:
    """Build the network that `config.name` names, with newly initialised weights.

    Raises:
        UserError: There is no such network.
    """
    if config.name not in MODELS:
        raise UserError(f"model.name={config.name}: it can be {', '.join(MODELS)}")
    return MODELS[config.name](config)
