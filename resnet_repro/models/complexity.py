"""The size of a network: layers, parameters and multiply-adds, counted without computing it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from resnet_repro.models import build_model
from resnet_repro.models.external import apply_own, build_external, image_batch
from resnet_repro.models.resnet import ResNet
from resnet_repro.settings.external_model import ExternalModelConfig, Model
from resnet_repro.settings.run import RunConfig


@dataclass(frozen=True)
class Complexity:
    """The size of a network.

    Attributes:
        layers: The number of weight layers as the papers count them: convolutions of the stem and
            the branches, and the last layer, but not the shortcuts' projections. In a plugin's
            network, all convolutions and linear layers.
        params: The number of parameters of convolutions, batch norm (gamma and beta) and the last
            layer.
        params_without_bn: The number of parameters without batch norm, as in [He16] and [Xie17].
        multiply_adds: The multiply-adds of convolutions and the last layer, for one image; the
            papers' "FLOPs". In a plugin's network, of all convolutions and matrix products.
        activations: The number of outputs of convolutions and the last layer, for one image.
    """

    layers: int
    params: int
    params_without_bn: int
    multiply_adds: int
    activations: int


Measured = TypeVar("Measured")
SIZELESS = ("gate_bias", "scales")  # settings of a network that change no count
_measured: dict[str, Complexity] = {}  # a cache, as the largest networks take seconds
_needed: dict[str, int] = {}  # bytes, likewise


def measure(config: RunConfig) -> Complexity:
    """Count the network of a run, at its data's image size, on torch's meta device."""
    sized = {name: each for name, each in vars(config.model).items() if name not in SIZELESS}
    key = repr((sized, config.data.image_size))
    if key not in _measured:
        _measured[key] = _measure(config.model, config.data.image_size)
    return _measured[key]


def _measure(config: Model, image_size: int) -> Complexity:
    if isinstance(config, ExternalModelConfig):
        return _without_computing(config, lambda model, images: _count(config, model, images))
    with torch.device("meta"):
        model = build_model(config).eval()
        images = torch.empty(1, 3, image_size, image_size)
    counter = Counter(model)
    with torch.no_grad():
        model(images)
    return counter.complexity()


class Counter:
    """Counts a network of ours, on torch's meta device; it is of no use for anything else after.

    Args:
        model: The network.

    Attributes:
        multiply_adds: Those of convolutions and linear layers so far, for a batch of one.
        activations: Number of their outputs so far.
    """

    def __init__(self, model: nn.Module) -> None:
        self.multiply_adds = self.activations = 0
        self._model, self._layers, self._norms = model, 0, list[nn.BatchNorm2d]()
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(self._count)
                self._layers += not {"shortcut", "gate"} & set(name.split("."))
            elif isinstance(module, nn.BatchNorm2d):
                self._norms.append(module)
                # It keeps shapes, and would take half of the counting's time.
                module.forward = _unchanged  # type: ignore[assignment]

    def _count(self, module: nn.Module, inputs: Any, output: Tensor) -> None:  # noqa: ANN401
        weight = module.weight
        assert isinstance(weight, Tensor)
        # A convolution uses each weight once per output pixel, the last layer once.
        self.multiply_adds += weight.numel() * prod(output.shape[2:])
        self.activations += output.numel()

    def complexity(self) -> Complexity:
        """Return the size of the network, with what was counted so far."""
        # Those of constant batch norm are buffers.
        in_norms = sum(norm.weight.numel() + norm.bias.numel() for norm in self._norms)
        own = {id(each) for norm in self._norms for each in (norm.weight, norm.bias)}
        others = sum(p.numel() for p in self._model.parameters() if id(p) not in own)
        return Complexity(
            self._layers, others + in_norms, others, self.multiply_adds, self.activations
        )


def _count(config: ExternalModelConfig, model: nn.Module, images: Tensor) -> Complexity:
    """Count a network that is not ours, from what it computes."""
    activations = 0

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
        nonlocal activations
        activations += output.numel()

    layers = [each for each in model.modules() if isinstance(each, _ConvNd | nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(count)
    # With gradients: without them, torch's attention takes a path that is not counted.
    with FlopCounterMode(display=False) as counter:
        apply_own(model.eval(), config, images)
    params = sum(p.numel() for p in model.parameters())
    norms = [each for each in model.modules() if isinstance(each, _BatchNorm)]
    in_norms = sum(p.numel() for norm in norms for p in norm.parameters(recurse=False))
    return Complexity(
        layers=len(layers),
        params=params,
        params_without_bn=params - in_norms,
        multiply_adds=counter.get_total_flops() // 2 // len(images),
        activations=activations // len(images),
    )


def _without_computing(
    config: ExternalModelConfig, measured: Callable[[nn.Module, Tensor], Measured]
) -> Measured:
    """Return a measurement of a plugin's network on a small batch.

    It is made on torch's meta device, which computes nothing; or on the CPU, if the network's code
    needs values.
    """
    try:
        with torch.device("meta"):
            return measured(build_external(config), image_batch(config))
    except Exception:  # of any kind: that of the network's own code
        with torch.random.fork_rng(devices=[]):
            return measured(build_external(config), image_batch(config))


def _unchanged(maps: Tensor, _added: Tensor | None = None) -> Tensor:
    return maps


def training_bytes(config: RunConfig) -> int:
    """Return the memory that training needs, in bytes, without computing the network.

    The sum of weights, gradients, momentum (all fp32) and the tensors that the forward pass of one
    batch-norm group keeps for the backward pass, without the overhead of the device's libraries.
    With the precision bf16 these tensors have half the size, and a bf16 copy of the weights, which
    autocast makes, is kept too.
    """
    num_images = config.recipe.bn_batch or config.recipe.batch_size
    in_bf16 = config.recipe.precision == "bf16"
    shape = (num_images, config.data.image_size, config.compute.recompute, in_bf16)
    key = repr((config.model, *shape))
    if key not in _needed:
        _needed[key] = _training_bytes(config.model, *shape)
    return _needed[key]


def _training_bytes(
    config: Model, num_images: int, image_size: int, segment: int | None, in_bf16: bool
) -> int:
    if isinstance(config, ExternalModelConfig):

        def of_few(model: nn.Module, images: Tensor) -> int:
            kept = kept_bytes(model.train(), images, in_bf16)[0] * num_images // len(images)
            return _weight_bytes(model, in_bf16) + kept

        return _without_computing(config, of_few)
    with torch.device("meta"):
        model = build_model(config).train()
        images = torch.empty(num_images, 3, image_size, image_size)
    kept, of_blocks = kept_bytes(model, images, in_bf16)
    if segment:
        # The inputs of all segments, and the largest segment while it is recomputed.
        assert isinstance(model, ResNet)
        model.segment = segment
        starts = range(0, len(of_blocks), segment)
        kept = kept_bytes(model, images, in_bf16)[0]
        kept += max(sum(of_blocks[i : i + segment]) for i in starts)
    return _weight_bytes(model, in_bf16) + kept


def _weight_bytes(model: nn.Module, in_bf16: bool) -> int:
    """Return the bytes of weights, gradients, momentum and autocast's copies of the weights."""
    copies = sum(weight.nbytes for weight in model.parameters()) // 2 if in_bf16 else 0
    return 3 * sum(each.nbytes for each in [*model.parameters(), *model.buffers()]) + copies


def kept_bytes(model: nn.Module, images: Tensor, in_bf16: bool) -> tuple[int, list[int]]:
    """Return the bytes kept for the backward pass: in total, and by block of a ResNet.

    The network is counted as it is, in fp32; maps that autocast computes in bf16 are half as large.
    """
    own = {w.untyped_storage()._cdata for w in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}  # holds the tensors, so that no storage's id is reused
    total, after = 0, [0]

    def keep(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage._cdata not in own and storage._cdata not in kept:
            kept[storage._cdata] = tensor
            halved = in_bf16 and tensor.dtype == torch.float32
            total += storage.nbytes() // 2 if halved else storage.nbytes()
        return tensor

    hooks = [
        block.register_forward_hook(lambda *_: after.append(total))
        for block in (model.blocks() if isinstance(model, ResNet) else ())
    ]
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images)
    for hook in hooks:
        hook.remove()
    return total, [end - begin for begin, end in pairwise(after)]
