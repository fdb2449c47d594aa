"""VGG-16, the network that the residual ones are compared with in object detection.

[Sim15]  Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv:1409.1556
"""

from collections import OrderedDict
from math import sqrt

from torch import Tensor, nn

from resnet_repro.models.resnet import he_init
from resnet_repro.settings.model import ModelConfig

VGG16_STAGES = (2, 2, 3, 3, 3)  # layers per stage: [Sim15] Table 1, D
POOLED = 7  # height and width of the map that the hidden layers take
DROPOUT = 0.5  # [Sim15] Sec. 3.1: "dropout ratio set to 0.5"


class Vgg(nn.Module):
    """3x3 layers with ReLU, in five stages that max pooling follows; two hidden layers, and fc.

    Shape: (N, 3, H, W) images -> (N, num_classes) logits. Maps are pooled to 7x7 before the hidden
    layers, as in torchvision: they are that already if H = W = 224. Poolings round sizes down.

    Args:
        config: The network's settings; [Sim15] has width 64, which doubles up to 512, and hidden
            layers of 4096.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        channels = 3
        for stage, num_layers in enumerate(VGG16_STAGES):
            width, layers = config.width * min(8, 2**stage), nn.Sequential()
            for number in range(1, num_layers + 1):
                layers.add_module(f"conv{number}", nn.Conv2d(channels, width, 3, padding=1))
                layers.add_module(f"relu{number}", nn.ReLU(inplace=True))
                channels = width
            self.stages.append(layers)
        self.pool = nn.MaxPool2d(2)
        self.last_pool = nn.AdaptiveAvgPool2d(POOLED)
        hidden = 64 * config.width
        self.hidden = nn.Sequential(
            OrderedDict(
                fc6=nn.Linear(channels * POOLED**2, hidden),
                relu6=nn.ReLU(inplace=True),
                dropout6=nn.Dropout(DROPOUT),
                fc7=nn.Linear(hidden, hidden),
                relu7=nn.ReLU(inplace=True),
                dropout7=nn.Dropout(DROPOUT),
            )
        )
        self.fc = nn.Linear(hidden, config.num_classes)
        self.apply(he_init)
        for layer in self.hidden:
            if isinstance(layer, nn.Linear):  # a ReLU follows it
                nn.init.normal_(layer.weight, std=sqrt(2 / layer.in_features))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = self.pool(stage(x))
        if x.shape[-2:] != (POOLED, POOLED):  # adaptive pooling has no deterministic CUDA gradient
            x = self.last_pool(x)
        return self.fc(self.hidden(x.flatten(1)))  # type: ignore[no-any-return]


def vgg16(config: ModelConfig) -> Vgg:
    """Build the 16-layer network: [Sim15] Table 1, column D."""
    return Vgg(config)
