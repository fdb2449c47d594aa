"""Whether kernels that were just built compute what plain torch does."""

import torch
from torch import Tensor

from resnet_repro.kernels.batch_norm import again, batch_norm
from resnet_repro.kernels.interface import Kernels, Norm

CHANNELS = (32, 37)  # a usual number, for which most of what is built is used, and an odd one


def are_right(kernels: Kernels, device: torch.device) -> bool:
    """Compare small cases, forward and backward, with plain torch on a device."""
    return all(_is_right(kernels, device, channels) for channels in CHANNELS)


def _is_right(kernels: Kernels, device: torch.device, channels: int) -> bool:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    maps = [
        draw(16, channels, 8, 8).contiguous(memory_format=torch.channels_last) for _ in range(4)
    ]
    weights, averages = draw(2, channels), [draw(channels), draw(channels).square()]
    results = []
    for used in (kernels, None):
        x, added, *weight = (each.clone().requires_grad_() for each in (*maps[:2], *weights))
        mean, var = (each.clone() for each in averages)
        norm = Norm(weight[0], weight[1], mean, var, momentum=0.1, eps=1e-5, relu=True)
        y = batch_norm(x, norm, added, num_groups=2, kernels=used)
        grads = torch.autograd.grad((y, again(y)), (x, added, *weight), maps[2:])
        results.append([y, mean, var, *grads])
    return all(
        torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        for ours, theirs in zip(*results, strict=True)
    )
