"""Proposals are the best boxes, clipped, large enough and apart."""

import pytest
import torch
from torchvision.ops import box_iou, nms

from resnet_repro.detection.anchors import grid
from resnet_repro.detection.boxes import clip, decode
from resnet_repro.detection.proposer import proposals
from tests.support.training import DEVICES

HEIGHT, WIDTH = 75, 110


def suppressed(boxes, order, overlap):
    """Return what a plain loop keeps of boxes, taken in an order."""
    kept = []
    for index in order:
        mine = boxes[index : index + 1]
        if all(box_iou(mine, boxes[k : k + 1]).item() <= overlap for k in kept):
            kept.append(index)
    return kept


@pytest.fixture
def drawn():
    torch.manual_seed(0)
    anchors = grid(5, 7, [1.0, 2.0, 4.0])
    number = len(anchors)
    return torch.randn(number, 2), torch.randn(number, 4) * 0.3, anchors


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.7])
def test_suppression_is_a_plain_loops(drawn, overlap, device):
    logits, deltas, anchors = drawn
    boxes, scores = decode(anchors, deltas)[::2], logits[::2, 0]
    expected = suppressed(boxes, scores.argsort(descending=True).tolist(), overlap)
    assert nms(boxes.to(device), scores.to(device), overlap).tolist() == expected


def test_an_overlap_of_exactly_the_threshold_is_kept():
    pair = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert len(nms(pair, torch.tensor([0.9, 0.8]), 0.5)) == 2
    pair[1, 3] = 7
    assert len(nms(pair, torch.tensor([0.9, 0.8]), 0.7)) == 2


@pytest.mark.parametrize(("before", "after"), [(None, None), (60, 20), (6000, 300)])
def test_proposals_are_a_plain_loops(drawn, before, after):
    logits, deltas, anchors = drawn
    found, scores = proposals(
        logits, deltas, anchors, HEIGHT, WIDTH, 16 * 1.2, before, after, nms=0.7
    )
    boxes = clip(decode(anchors, deltas), HEIGHT, WIDTH)
    probabilities = logits.softmax(dim=1)[:, 1]
    order = [
        k
        for k in probabilities.argsort(descending=True).tolist()
        if min(boxes[k, 2] - boxes[k, 0], boxes[k, 3] - boxes[k, 1]) >= 16 * 1.2
    ]
    assert len(order) < len(boxes)
    expected = suppressed(boxes, order[:before], 0.7)[:after]
    assert torch.equal(found, boxes[expected])
    torch.testing.assert_close(scores, probabilities[expected])
    assert len(found) > 10


def test_certain_proposals_keep_their_order_and_there_may_be_none():
    """Probabilities of 1 in float32 are told apart by their logits."""
    anchors = grid(1, 3, [4.0])[1::3]
    logits = torch.tensor([[0.0, 40], [0, 60], [0, 50]])
    boxes, scores = proposals(logits, torch.zeros(3, 4), anchors, 100, 100, 1, None, None, 0.9)
    assert (scores == 1).all()
    assert boxes[:, 2].tolist() == [56, 72, 40]
    boxes, scores = proposals(logits, torch.zeros(3, 4), anchors, 100, 100, 90, None, 300)
    assert boxes.shape == (0, 4) and scores.shape == (0,)
