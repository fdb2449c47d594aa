"""The layer responses of a network ([He15] Fig. 7): standard deviations of layers' outputs.

[He15]  Deep Residual Learning for Image Recognition, arXiv:1512.03385
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import sqrt

import torch
from torch import Tensor, nn

from resnet_repro.models.layers import BatchNorm


class Response:
    """The standard deviation of one layer's outputs, accumulated batch by batch."""

    def __init__(self) -> None:
        self._number = 0
        self._sums: Tensor | None = None

    def add(self, outputs: Tensor) -> None:
        """Add outputs of any shape."""
        values = (outputs.cpu() if outputs.device.type == "mps" else outputs).double()
        sums = torch.stack([values.sum(), values.square().sum()])
        self._sums = sums if self._sums is None else self._sums + sums
        self._number += values.numel()

    def std(self) -> float:
        """Return the standard deviation of all outputs."""
        assert self._sums is not None, "no outputs"
        total, squares = self._sums.tolist()
        return sqrt(max(0.0, squares / self._number - (total / self._number) ** 2))


def _add(response: Response, norm: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
    # Ours returns what follows batch norm, too.
    response.add(norm.normalised(inputs[0]) if isinstance(norm, BatchNorm) else outputs)


@contextmanager
def layer_responses(model: nn.Module) -> Iterator[list[Response]]:
    """Accumulate the outputs of the batch norm after each 3x3 layer, in the order of layers."""
    responses, handles = [], []
    previous: nn.Module | None = None
    for module in model.modules():
        after_conv = isinstance(previous, nn.Conv2d) and previous.kernel_size == (3, 3)
        if after_conv and isinstance(module, nn.BatchNorm2d):
            response = Response()
            responses.append(response)
            handles.append(module.register_forward_hook(partial(_add, response)))
        previous = module
    try:
        yield responses
    finally:
        for handle in handles:
            handle.remove()
