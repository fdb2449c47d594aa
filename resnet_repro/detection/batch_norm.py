"""Batch norm that is constant: the affine map that it is with its averages as statistics."""

from torch import Tensor, nn

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
        return batch_norm_of_averages(x, self._norm(), added, self.kernels)


def freeze_batch_norm(model: nn.Module) -> None:
    """Replace all batch norms within a network by constant ones, with the same values."""
    for name, module in model.named_children():
        if isinstance(module, BatchNorm):
            frozen = FrozenBatchNorm(module.num_features, relu=module.relu)
            frozen.load_state_dict(module.state_dict())
            setattr(model, name, frozen)
        else:
            freeze_batch_norm(module)
