"""Max pooling of regions of interest."""

import torch
from torch import Tensor
from torchvision.ops import roi_pool


def pool_regions(maps: Tensor, regions: Tensor, size: int, stride: int) -> Tensor:
    """Pool regions of maps to one size, by maxima over rounded parts: RoIPool of Fast R-CNN.

    The operator counts pixels inclusively, as Caffe's, so it is given the last pixels of boxes, not
    their ends.

    Args:
        maps: (N, C, h, w).
        regions: (R, 5): the position of the image among the N, and x1, y1, x2, y2 in pixels of it,
            with an exclusive end.
        size: Height and width of the result.
        stride: Pixels of an image per position of its map.

    Returns:
        (R, C, size, size), float32; 0 where a part is outside of the map.
    """
    inclusive = regions - regions.new_tensor((0, 0, 0, 1, 1))
    # It has no bf16.
    with torch.autocast(maps.device.type, enabled=False):
        return roi_pool(maps.float(), inclusive.float(), size, 1 / stride)  # type: ignore[no-any-return]
