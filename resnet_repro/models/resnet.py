"""The networks of the papers: stem, stages of blocks, head.

[He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
[He16]   Identity Mappings in Deep Residual Networks, arXiv:1603.05027
[Xie17]  Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import nullcontext
from math import sqrt

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from resnet_repro.models.blocks import ORDERS, activation, build_block
from resnet_repro.models.layers import BatchNorm, conv3x3, frozen_averages
from resnet_repro.models.shortcuts import Gate
from resnet_repro.settings.model import LAYERS, ModelConfig

# [He15] Table 1, and [He16] Sec. 5 for 200 layers: the number of blocks per stage, and their kind.
IMAGENET_STAGES = {
    18: ([2, 2, 2, 2], "basic"),
    34: ([3, 4, 6, 3], "basic"),
    50: ([3, 4, 6, 3], "bottleneck"),
    101: ([3, 4, 23, 3], "bottleneck"),
    152: ([3, 8, 36, 3], "bottleneck"),
    200: ([3, 24, 36, 3], "bottleneck"),
}


class ResNet(nn.Module):
    """A network of blocks, residual or plain.

    Shape: (N, 3, H, W) images -> (N, num_classes) logits, for any H and W that are large enough for
    the strides, as the pooling before the last layer is global.

    Args:
        stem: The layers before the first stage, activation included; returns `config.width`
            channels.
        stages: Number of blocks per stage; each stage but the first halves the map and doubles the
            channels in its first block.
        block: The kind of block: `single`, `basic` or `bottleneck`.
        config: The network's settings.

    Attributes:
        segment: Number of blocks per recomputed segment (activation checkpointing); None keeps all
            activations.
    """

    def __init__(self, stem: nn.Module, stages: list[int], block: str, config: ModelConfig) -> None:
        super().__init__()
        self.segment: int | None = None
        self.stem = stem
        self.stages = nn.Sequential()
        channels = config.width
        for stage, num_blocks in enumerate(stages):
            blocks = nn.Sequential()
            width = config.width * 2**stage
            for number in range(num_blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                is_first = stage == number == 0
                made = build_block(config, block, channels, width, stride, is_first=is_first)
                blocks.append(made)
                channels = 4 * width if block == "bottleneck" else width
            self.stages.append(blocks)
        # A pre-activation network's last addition needs an activation ([He16] appendix).
        self.last = activation(ORDERS[config.activation].before, channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, config.num_classes)
        self.apply(he_init)

    def blocks(self) -> Iterator[nn.Module]:
        """Yield the blocks of all stages, first to last."""
        for stage in self.stages.children():
            yield from stage.children()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.segment and self.training and torch.is_grad_enabled():
            x = recomputed(list(self.blocks()), self.segment, x)
        else:
            x = self.stages(x)
        return self.fc(self.pool(self.last(x)).flatten(1))  # type: ignore[no-any-return]


def recomputed(blocks: list[nn.Module], segment: int, x: Tensor) -> Tensor:
    """Apply blocks with activation checkpointing: keep only the input of every `segment` blocks.

    The backward pass recomputes the rest, without updating batch norm's averages a second time.
    """
    draws = any(isinstance(module, nn.Dropout) for block in blocks for module in block.modules())
    for first in range(0, len(blocks), segment):
        x = checkpoint(
            nn.Sequential(*blocks[first : first + segment]),
            x,
            use_reentrant=False,
            preserve_rng_state=draws,
            context_fn=lambda: (nullcontext(), frozen_averages()),
        )
    return x


def he_init(module: nn.Module) -> None:
    """Initialise a layer's weights "as in [13]" of [He15].

    | layer       | weight                                   | bias |
    |-------------|------------------------------------------|------|
    | convolution | normal, std sqrt(2 / (k * k * C_out))    | 0    |
    | batch norm  | 1                                        | 0    |
    | gate        | as a convolution                         | set  |
    | last layer  | normal, std sqrt(1 / C_in)               | 0    |

    Fan-out for convolutions and the zero bias are those of fb.resnet.torch. The papers do not say
    how to initialise the last layer; no ReLU follows it, so 1 instead of 2 keeps the variance. A
    gate's bias is a setting.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=sqrt(1 / module.in_features))
        nn.init.zeros_(module.bias)
    elif isinstance(module, Gate):
        nn.init.constant_(module.conv.bias, module.initial_bias)  # type: ignore[arg-type]


def cifar_resnet(config: ModelConfig) -> ResNet:
    """Build a CIFAR network: a 3x3 layer, 3 stages of n blocks, fc.

    It has 6n+2 layers with basic blocks ([He15] Sec. 4.2), 9n+2 with bottlenecks ([He16]; [Xie17]
    Sec. 5.3), 3n+2 with single layers ([He16] Table 3).
    """
    block = config.block or "basic"
    n = (config.depth - 2) // (3 * LAYERS[block])
    stem = nn.Sequential(
        OrderedDict(
            conv=conv3x3(3, config.width),
            bn=BatchNorm(config.width, relu=True),
        )
    )
    return ResNet(stem, [n, n, n], block, config)


def imagenet_resnet(config: ModelConfig) -> ResNet:
    """Build a network of [He15] Table 1: a 7x7 layer, max pooling, 4 stages, fc."""
    stages, block = IMAGENET_STAGES[config.depth]
    stem = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False),
            bn=BatchNorm(config.width, relu=True),
            pool=nn.MaxPool2d(3, stride=2, padding=1),
        )
    )
    return ResNet(stem, stages, block, config)
