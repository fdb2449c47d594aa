"""Batch norm that is constant: the affine map that it is with its averages as statistics."""

from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.kernels import Kernels, Norm
from resnet_repro.kernels.batch_norm import batch_norm_of_averages
from resnet_repro.models.layers import BatchNorm


class FrozenBatchNorm(BatchNorm):
    """Batch norm with constant statistics, gamma and beta, and the addition and ReLU that follow.

    "the BN layers become linear activations with constant offsets and scales" (arXiv:1512.03385,
    App. A). All of its tensors are buffers, under the names that they have in a classifier.
    Shape: (N, C, H, W), unchanged.
    """

    def __init__(self, channels: int, *, relu: bool = False) -> None:
        super().__init__(channels, relu=relu)
        for name in ("weight", "bias"):
            parameter = getattr(self, name)
            delattr(self, name)
            self.register_buffer(name, parameter.detach())

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        return Affine.apply(x, added, self._norm(), self.kernels)  # type: ignore[no-any-return]


class Affine(torch.autograd.Function):
    """y = relu(bn(x) + h) with constant bn: only y is kept, which the next convolution keeps too.

    torch's batch norm keeps x, and so takes twice the memory.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        added: Tensor | None,
        norm: Norm,
        kernels: Kernels | None,
    ) -> Tensor:
        y = batch_norm_of_averages(x, norm, added, kernels)
        scale = norm.weight * (norm.var + norm.eps).rsqrt()
        ctx.save_for_backward(scale, y if norm.relu else None)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (grad,), (scale, y) = grads, ctx.saved_tensors
        if y is not None:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        of_x = torch.empty_like(grad) if ctx.needs_input_grad[0] else None
        if of_x is not None:  # in one pass, with the product in float32 if maps are bf16
            torch.mul(grad, scale.view(-1, 1, 1), out=of_x)
        return of_x, grad if ctx.needs_input_grad[1] else None, None, None


def freeze_batch_norm(model: nn.Module) -> None:
    """Replace all batch norms within a network by constant ones, with the same values."""
    for name, module in model.named_children():
        if isinstance(module, BatchNorm):
            frozen = FrozenBatchNorm(module.num_features, relu=module.relu)
            frozen.load_state_dict(module.state_dict())
            setattr(model, name, frozen)
        else:
            freeze_batch_norm(module)
