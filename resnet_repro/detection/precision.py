"""What detectors compute in fp32 in bf16 runs too."""

import torch
from torch import Tensor


def in_fp32(values: Tensor) -> torch.autocast:
    """Return a context in which nothing is computed in bf16 on the device of a tensor.

    It casts nothing: operands are to be fp32 already.
    """
    # Sizes are counted on the device `meta`, which autocast does not know.
    return torch.autocast("cpu" if values.is_meta else values.device.type, enabled=False)
