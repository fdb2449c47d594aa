"""Max pooling of regions of interest."""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import roi_pool

from resnet_repro.detection.precision import in_fp32


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
    with in_fp32(maps):  # the operator has no bf16
        operands = maps.float(), inclusive.float()
        if torch.are_deterministic_algorithms_enabled():
            return ReproduciblePool.apply(*operands, size, stride)  # type: ignore[no-any-return]
        return roi_pool(*operands, size, 1 / stride)  # type: ignore[no-any-return]


class ReproduciblePool(torch.autograd.Function):
    """The operator with gradients that are summed in one order on CUDA, unlike torchvision's."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        maps: Tensor,
        regions: Tensor,
        size: int,
        stride: int,
    ) -> Tensor:
        pooled, place = torch.ops.torchvision.roi_pool(maps, regions, 1 / stride, size, size)
        ctx.save_for_backward(regions, place)  # place: within a channel's map; -1: of no pixel
        ctx.shape = maps.shape
        return pooled  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        regions, place = ctx.saved_tensors
        num, channels, height, width = ctx.shape
        of_image = regions[:, 0].long().view(-1, 1, 1, 1) * channels
        of_map = of_image + torch.arange(channels, device=place.device).view(1, -1, 1, 1)
        is_pixel = place >= 0
        index = (of_map * (height * width) + place)[is_pixel]
        of_maps = grads[0].new_zeros(num * channels * height * width)
        of_maps.index_add_(0, index, grads[0][is_pixel])
        return of_maps.view(ctx.shape), None, None, None
