"""The region proposal network: a small network that slides over a map, and its proposals.

[Ren15]  Faster R-CNN, arXiv:1506.01497, Sec. 3.1
"""

import torch
from torch import Tensor, nn
from torchvision.ops import nms as suppress

from resnet_repro.detection.boxes import clip, decode
from resnet_repro.detection.precision import in_fp32

WIDTH = 512  # channels of the 3x3 layer, [Ren15] Sec. 3.1 for VGG-16


class Proposer(nn.Module):
    """Scores and offsets of all anchors: a 3x3 layer with ReLU, and two 1x1 layers.

    Shape: maps (N, C, h, w) -> logits (N, h * w * A, 2), background first, and offsets
    (N, h * w * A, 4), both float32, in the order of `anchors.grid`.

    Args:
        channels: C.
        num_anchors: A, the number of anchors of a position.
    """

    def __init__(self, channels: int, num_anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.scores = nn.Conv2d(WIDTH, 2 * num_anchors, 1)
        self.deltas = nn.Conv2d(WIDTH, 4 * num_anchors, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(maps).relu_()
        with in_fp32(x):  # in bf16 the scores of many anchors would be equal
            return _by_anchor(self.scores(x.float()), 2), _by_anchor(self.deltas(x.float()), 4)


def _by_anchor(maps: Tensor, values: int) -> Tensor:
    """Return (N, A * values, h, w) as (N, h * w * A, values)."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, values)


@torch.no_grad()
def proposals(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    height: int,
    width: int,
    min_size: float,
    before: int | None,
    after: int | None,
    nms: float = 0.7,
) -> tuple[Tensor, Tensor]:
    """Return the proposals of an image, the best first: [Ren15] Sec. 3.3, py-faster-rcnn.

    Args:
        logits: (n, 2), of background and object.
        deltas: (n, 4), the offsets from the anchors.
        anchors: (n, 4).
        height: That of the image as the network sees it, without padding; pixels.
        width: Likewise.
        min_size: Smallest height and width of a proposal, pixels of that image.
        before: Number of the best that non-maximum suppression is given; None: all.
        after: Number of the best that remain; None: all.
        nms: Overlap (IoU) above which the lower of two is suppressed.

    Returns:
        Boxes (m, 4) and probabilities (m,) of being an object.
    """
    boxes = clip(decode(anchors, deltas), height, width)
    # Probabilities near 1 are equal in float32 where these are not.
    margins = logits[:, 1] - logits[:, 0]
    sides = boxes[:, 2:] - boxes[:, :2]
    large = (sides >= min_size).all(dim=1).nonzero().squeeze(1)
    boxes, margins = boxes[large], margins[large]
    margins, order = margins.sort(descending=True, stable=True)
    boxes, margins = boxes[order[:before]], margins[:before]
    kept = suppress(boxes, margins, nms)[:after]
    return boxes[kept], margins[kept].sigmoid()
