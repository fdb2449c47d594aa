"""The networks of [He15]: stem, stages of blocks, head.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections import OrderedDict
from collections.abc import Iterator
from math import sqrt

from torch import Tensor, nn

from resnet_repro.config import ModelConfig
from resnet_repro.models.blocks import build_block
from resnet_repro.models.layers import BatchNorm, conv3x3

# [He15] Table 1: blocks per stage, and whether they are bottlenecks.
IMAGENET_STAGES = {
    18: ([2, 2, 2, 2], False),
    34: ([3, 4, 6, 3], False),
    50: ([3, 4, 6, 3], True),
    101: ([3, 4, 23, 3], True),
    152: ([3, 8, 36, 3], True),
}


class ResNet(nn.Module):
    """A network of blocks, residual or plain.

    Shape: (N, 3, H, W) images -> (N, num_classes) logits, for any H and W that the strides leave a
    map of: the pooling before the last layer is global.

    Args:
        stem: The layers before the first stage; gives `config.width` channels.
        stages: Number of blocks per stage; each stage but the first halves the map and doubles the
            channels in its first block.
        bottleneck: Bottleneck blocks.
        config: Width, shortcuts and number of classes.
    """

    def __init__(
        self, stem: nn.Module, stages: list[int], *, bottleneck: bool, config: ModelConfig
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential()
        channels = config.width
        for stage, num_blocks in enumerate(stages):
            blocks = nn.Sequential()
            width = config.width * 2**stage
            for block in range(num_blocks):
                blocks.append(
                    build_block(
                        bottleneck=bottleneck,
                        in_channels=channels,
                        width=width,
                        stride=2 if stage > 0 and block == 0 else 1,
                        shortcut=config.shortcut,
                        stride_in=config.stride_in,
                        cardinality=config.cardinality,
                    )
                )
                channels = 4 * width if bottleneck else width
            self.stages.append(blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, config.num_classes)
        self.apply(he_init)

    def blocks(self) -> Iterator[nn.Module]:
        """Yield the blocks of all stages, first to last."""
        for stage in self.stages.children():
            yield from stage.children()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.stages(self.stem(x))).flatten(1))  # type: ignore[no-any-return]


def he_init(module: nn.Module) -> None:
    """Draw a layer's weights "as in [13]" of [He15].

    | layer       | weight                                   | bias |
    |-------------|------------------------------------------|------|
    | convolution | normal, std sqrt(2 / (k * k * C_out))    | none |
    | batch norm  | 1                                        | 0    |
    | last layer  | normal, std sqrt(1 / C_in)               | 0    |

    Fan-out for convolutions and the zero bias are those of fb.resnet.torch. The papers do not say
    how the last layer begins; no ReLU follows it, so 1 in place of 2 keeps the variance.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=sqrt(1 / module.in_features))
        nn.init.zeros_(module.bias)


def cifar_resnet(config: ModelConfig) -> ResNet:
    """Build the 6n+2 layers of [He15] Sec. 4.2: a 3x3 layer, 3 stages of n basic blocks, fc."""
    n = (config.depth - 2) // 6
    stem = nn.Sequential(
        OrderedDict(
            conv=conv3x3(3, config.width),
            bn=BatchNorm(config.width),
            relu=nn.ReLU(inplace=True),
        )
    )
    return ResNet(stem, [n, n, n], bottleneck=False, config=config)


def imagenet_resnet(config: ModelConfig) -> ResNet:
    """Build a network of [He15] Table 1: a 7x7 layer, max pooling, 4 stages, fc."""
    stages, bottleneck = IMAGENET_STAGES[config.depth]
    stem = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False),
            bn=BatchNorm(config.width),
            relu=nn.ReLU(inplace=True),
            pool=nn.MaxPool2d(3, stride=2, padding=1),
        )
    )
    return ResNet(stem, stages, bottleneck=bottleneck, config=config)
