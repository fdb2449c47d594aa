"""Which anchors and regions are sampled, and what they are to learn."""

from fractions import Fraction

import pytest
import torch

from resnet_repro.detection.anchors import grid
from resnet_repro.detection.boxes import encode
from resnet_repro.detection.targets import anchor_targets, generator, learned, region_targets

NONE = torch.empty(0, 4)
ALL = 10**6  # samples: more than there are


def draws(iteration=0):
    return generator(0, iteration, 0, "anchors")


def overlap(a, b):
    """Return the IoU of two boxes of whole pixels, exactly."""
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    both = max(0, sides[0]) * max(0, sides[1])
    area_a, area_b = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return Fraction(both, area_a + area_b - both)


def plain_labels(anchors, boxes, height, width):
    """Return {anchor: (label, object)} of the anchors that may be sampled, one pair at a time."""
    inside = {
        number: anchor
        for number, anchor in enumerate(anchors)
        if anchor[0] >= 0 and anchor[1] >= 0 and anchor[2] <= width and anchor[3] <= height
    }
    table = {n: [overlap(anchor, box) for box in boxes] for n, anchor in inside.items()}
    best_of = [max((row[b] for row in table.values()), default=0) for b in range(len(boxes))]
    found = {}
    for number, row in table.items():
        matched = row.index(max(row))
        if max(row) >= Fraction(7, 10) or any(
            0 < value == best for value, best in zip(row, best_of, strict=True)
        ):
            found[number] = (1, matched)
        elif max(row) < Fraction(3, 10):
            found[number] = (0, None)
    return found


@pytest.mark.parametrize(
    ("height", "width"),
    [(600, 901), (320, 240), (190, 270)],  # the last is smaller than most anchors
)
def test_anchors_are_labelled_as_one_by_one(height, width):
    anchors = grid(height // 16, width // 16, [8.0, 16.0, 32.0])
    corners = torch.randint(0, 60, (4, 2), generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corners, corners + torch.tensor([[1, 1], [127, 90], [40, 40], [90, 35]])], 1)
    boxes[3, 2:] = boxes[3, 2:].clamp(max=min(height, width))
    aims = anchor_targets(anchors, boxes.float(), height, width, ALL, draws())
    plain = plain_labels(anchors.int().tolist(), boxes.tolist(), height, width)
    found = dict(zip(aims.indices.tolist(), aims.labels.tolist(), strict=True))
    assert len(found) == len(aims.indices)
    assert found == {number: label for number, (label, _) in plain.items()}
    assert {0, 1} == set(found.values())
    for index, label, deltas in zip(aims.indices.tolist(), aims.labels, aims.deltas, strict=True):
        aim = torch.zeros(4)
        if label:
            aim = encode(anchors[index], boxes[plain[index][1]].float())
        torch.testing.assert_close(deltas, aim)


def test_at_most_half_of_the_anchors_are_objects_and_negatives_fill_the_rest():
    anchors = grid(38, 57, [8.0, 16.0, 32.0])
    crowded = anchors[(anchors >= 0).all(dim=1) & (anchors < 400).all(dim=1)][::3]
    many = anchor_targets(anchors, crowded, 600, 901, 64, draws())
    assert many.labels.sum() == 32 and len(many.labels) == 64
    few = anchor_targets(anchors, torch.tensor([[100.0, 100, 220, 230]]), 600, 901, 256, draws())
    assert len(few.labels.nonzero()) < 20 and len(few.labels) == 256
    one = anchor_targets(anchors, crowded, 600, 901, 2, draws())
    assert one.labels.tolist() == [1, 0]


def test_a_photograph_smaller_than_all_anchors_has_no_targets_and_one_without_objects_negatives():
    anchors = grid(3, 3, [8.0, 16.0])
    box = torch.tensor([[0.0, 0, 40, 40]])
    nothing = anchor_targets(anchors, box, 48, 48, 256, draws())
    assert nothing.indices.shape == nothing.labels.shape == (0,) and nothing.deltas.shape == (0, 4)
    anchors = grid(38, 57, [8.0])
    empty = anchor_targets(anchors, NONE, 600, 901, 256, draws())
    assert len(empty.labels) == 256 and not empty.labels.any() and not empty.deltas.any()


def test_an_object_that_no_anchor_overlaps_makes_none_positive():
    """Else all would be its best, at an overlap of 0."""
    aims = anchor_targets(
        grid(38, 57, [8.0]), torch.tensor([[0.0, 0, 1, 1]]), 600, 901, ALL, draws()
    )
    assert len(aims.labels) > 1000 and not aims.labels.any()


def test_choices_depend_on_seed_iteration_photograph_and_purpose_alone():
    anchors = grid(38, 57, [8.0])

    def chosen(*of):
        return anchor_targets(anchors, NONE, 600, 901, 64, generator(*of)).indices.tolist()

    first = chosen(0, 5, 7, "anchors")
    assert first == chosen(0, 5, 7, "anchors")
    others = [
        (1, 5, 7, "anchors"),
        (0, 6, 7, "anchors"),
        (0, 5, 8, "anchors"),
        (0, 5, 7, "regions"),
    ]
    assert all(chosen(*of) != first for of in others)


BOX = torch.tensor([[100.0, 100, 200, 200], [300, 300, 310, 310]])
# IoU with the first object: .5 and below it, .1 and below it, 0
PROPOSALS = torch.tensor(
    [
        [100.0, 100, 200, 150],
        [100, 100, 200, 149],
        [100, 100, 200, 110],
        [100, 100, 200, 109],
        [0, 0, 9, 9],
    ]
)
OBJECTS = torch.tensor([4, 1])


@pytest.mark.parametrize(
    ("low", "high", "background"),
    [(0.0, 0.5, [1, 2, 3, 4]), (0.1, 0.5, [1, 2]), (0.1, 0.3, [2])],
)
def test_regions_are_objects_from_one_half_and_background_within_its_range(low, high, background):
    aims = region_targets(PROPOSALS, BOX, OBJECTS, 100, (low, high), draws())
    rows = dict(zip(map(tuple, aims.boxes.tolist()), aims.labels.tolist(), strict=True))
    objects = {
        tuple(BOX[0].tolist()): 5,
        tuple(BOX[1].tolist()): 2,
        tuple(PROPOSALS[0].tolist()): 5,
    }
    assert rows == objects | {tuple(PROPOSALS[n].tolist()): 0 for n in background}
    assert aims.labels.sort(descending=True, stable=True).indices[3:].tolist() == list(
        range(3, len(aims.labels))
    ), "objects first"
    by_box = dict(zip(rows, aims.deltas, strict=True))
    # The centre is 25 pixels below, half its height, and the height doubles.
    aim = torch.tensor([0, 0.5 / 0.1, 0, torch.tensor(2.0).log() / 0.2])
    torch.testing.assert_close(by_box[tuple(PROPOSALS[0].tolist())], aim)
    assert not any(by_box[row].any() for row in rows if row != tuple(PROPOSALS[0].tolist()))


def test_a_quarter_of_the_regions_are_objects():
    near = BOX[:1].repeat(50, 1) + torch.arange(50)[:, None] / 10
    far = torch.tensor([[0.0, 0, 50, 50]]).repeat(100, 1)
    aims = region_targets(torch.cat([near, far]), BOX, OBJECTS, 64, (0.0, 0.5), draws())
    assert len(aims.labels) == 64 and (aims.labels > 0).sum() == 16
    only = region_targets(near, BOX, OBJECTS, 64, (0.1, 0.5), draws())
    assert len(only.labels) == 16 and (only.labels > 0).all()


def test_regions_without_objects_are_background_and_there_may_be_none():
    no_classes = torch.empty(0, dtype=torch.int64)
    aims = region_targets(PROPOSALS, NONE, no_classes, 64, (0.0, 0.5), draws())
    assert aims.labels.tolist() == [0] * 5 and not aims.deltas.any()
    for proposals in (NONE, PROPOSALS):  # an IoU of 0 is below the range
        aims = region_targets(proposals, NONE, no_classes, 64, (0.1, 0.5), draws())
        assert aims.boxes.shape == aims.deltas.shape == (0, 4) and aims.labels.shape == (0,)


def test_difficult_objects_crowds_and_boxes_without_area_are_not_learned():
    boxes = torch.tensor([[0.0, 0, 9, 9], [1, 1, 5, 5], [3, 3, 3, 8], [2, 2, 3, 3]])
    ignored = torch.tensor([False, True, False, False])
    kept, classes = learned(boxes, torch.tensor([3, 2, 1, 0]), ignored)
    assert kept.tolist() == boxes[[0, 3]].tolist() and classes.tolist() == [3, 0]
    assert learned(boxes, classes.new_zeros(4), torch.ones(4, dtype=torch.bool))[0].shape == (0, 4)
