"""Networks and blocks as settings make them."""

import torch
from torch import nn

from resnet_repro.models.blocks import build_block
from resnet_repro.models.external import check_external
from resnet_repro.models.resnet import he_init
from resnet_repro.plugins import registry
from resnet_repro.settings.external_model import ExternalModelConfig
from resnet_repro.settings.model import ModelConfig

# A plugin: a file of the user's, whose network is what stands in place of {}.
TINY = """\
from torch import nn
from resnet_repro.models import register
@register("tiny")
def build(settings, num_classes, image_size):
    return {}
"""
LINEAR = "nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))"


def network(cifar: bool, depth: int, **settings) -> ModelConfig:
    shipped = {"width": 16, "num_classes": 10} if cifar else {"width": 64, "num_classes": 1000}
    name = "cifar_resnet" if cifar else "imagenet_resnet"
    return ModelConfig(**{**shipped, "name": name, "depth": depth, "shortcut": "A", **settings})


def block_of(*, block="basic", in_channels=3, width=3, stride=1, is_first=False, **settings):
    """Build a block in test mode whose batch norms and weights are drawn at random."""
    torch.manual_seed(0)
    config = network(True, 110 if block != "bottleneck" else 164, block=block, **settings)
    made = build_block(config, block, in_channels, width, stride, is_first=is_first)
    made.apply(he_init)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 2.0)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor)
    return made.eval()


def relu(x):
    return x.clamp(min=0)


def own(name, image_size=16, num_classes=10, **settings):
    """Return the settings of a network that is registered."""
    found = {"settings": settings, "source": registry.find(name).source}
    return ExternalModelConfig(name=name, num_classes=num_classes, image_size=image_size, **found)


def draws_numbers(config):
    return check_external(config).draws_numbers
