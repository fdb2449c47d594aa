"""Testing a network: every image once, in counts that add up over batches and processes."""

import torch
from torch import Tensor, nn

from resnet_repro.data.images import Images, in_batches, normalise


@torch.inference_mode()
def count_errors(
    model: nn.Module, images: Images, mean: Tensor, batch_size: int, autocast: torch.autocast
) -> dict[str, int]:
    """Test on the single view of each image ([He15] Sec. 4.2); batch norm uses its averages.

    Args:
        model: The network; left in training mode.
        images: On the model's device.
        mean: (C, H, W), subtracted from each.
        batch_size: Images per forward pass.
        autocast: The precision it is computed in.

    Returns:
        `num_errors`, the images whose most probable class is wrong, of `num_images`.
    """
    model.eval()
    num_errors = torch.zeros((), dtype=torch.int64, device=images.labels.device)
    for batch in in_batches(images, batch_size):
        with autocast:
            logits = model(normalise(batch.pixels, mean))
        num_errors += (logits.argmax(dim=1) != batch.labels).sum()
    model.train()
    return {"num_errors": int(num_errors), "num_images": len(images)}
