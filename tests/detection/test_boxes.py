"""Boxes: offsets, clipping and votes are py-faster-rcnn's, in a convention without its +1."""

import math

import pytest
import torch

from resnet_repro.detection.boxes import clip, decode, encode, resized, vote


def test_offsets_are_those_of_the_legacy_formulas():
    """Inclusive pixels: box (10, 20, 49, 99), object (14, 15, 63, 94), worked out by hand."""
    anchor, target = torch.tensor([[10.0, 20, 50, 100]]), torch.tensor([[14.0, 15, 64, 95]])
    deltas = encode(anchor, target)
    torch.testing.assert_close(deltas, torch.tensor([[0.225, -0.0625, math.log(50 / 40), 0]]))
    torch.testing.assert_close(decode(anchor, deltas), target)


def test_decoding_inverts_encoding_and_broadcasts():
    torch.manual_seed(0)
    corners = torch.rand(50, 2, 2) * 600
    anchors = torch.cat((corners[:, 0], corners[:, 0] + 16 + corners[:, 1]), dim=1)
    targets = anchors.roll(1, dims=0)
    torch.testing.assert_close(
        decode(anchors, encode(anchors, targets)), targets, rtol=1e-5, atol=1e-2
    )
    deltas = torch.randn(50, 3, 4)
    by_class = decode(anchors[:, None], deltas)
    for number in range(3):
        assert torch.equal(by_class[:, number], decode(anchors, deltas[:, number]))
    far = decode(anchors, torch.full((50, 4), 1e4))
    assert far.isfinite().all()


def test_no_boxes_are_boxes():
    none = torch.empty(0, 4)
    results = (
        encode(none, none),
        decode(none, none),
        clip(none, 5, 5),
        vote(none, none, torch.empty(0)),
        vote(none, torch.rand(3, 4), torch.rand(3)),
    )
    assert all(each.shape == (0, 4) for each in results)
    kept = torch.tensor([[0.0, 0, 10, 10]])
    assert torch.equal(vote(kept, none, torch.empty(0)), kept)


def test_boxes_are_clipped_to_the_ends_of_the_image():
    found = clip(torch.tensor([[-3.0, 2, 500.5, 331], [510, -9, 520, -1]]), 333, 500)
    assert found.tolist() == [[0, 2, 500, 331], [500, 0, 500, 0]]


def test_boxes_vote_by_score_on_the_place_of_a_kept_one():
    """By hand: IoU 9/11 of the first two; the third, and one without a score, stay."""
    all_of_them = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 50, 50], [7, 70, 8, 71]])
    kept = all_of_them[[0, 2, 3]]
    found = vote(kept, all_of_them, torch.tensor([0.9, 0.6, 0.8, 0.0]))
    torch.testing.assert_close(found[0], torch.tensor([0.4, 0, 10.4, 10]))
    assert torch.equal(found[1:], kept[1:])
    # An IoU of exactly a half votes.
    half = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert vote(half[:1], half, torch.ones(2)).tolist() == [[0, 0, 10, 7.5]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((333, 500), (600, 901)),  # torchvision rounds down: 900
        ((281, 500), (562, 1000)),
        ((442, 500), (600, 679)),
        ((427, 640), (600, 899)),
        ((375, 500), (600, 800)),
        ((500, 375), (800, 600)),
        ((2, 5000), (1, 1000)),
    ],
)
def test_photographs_are_resized_to_600_by_at_most_1000(size, expected):
    height, width, scale = resized(*size, 600, 1000)
    assert (height, width) == expected
    assert scale == (600 / min(size) if 600 in expected else 1000 / max(size))


def test_the_longest_side_is_decided_after_rounding():
    """2500 * 600 / 1999 is 750.375, and 750 of those are allowed."""
    assert resized(1999, 2500, 600, 750) == (600, 750, 600 / 1999)
