"""Average precision by the rules of ILSVRC's detection task, on boxes made by hand."""

import numpy as np
import pytest

from resnet_repro.detection.det_ap import limits
from resnet_repro.detection.scores import score
from tests.support.scenes import detections_of, scenes_of

BOX = (0, 0, 100, 100)


def right_part(width, of=100):
    return (0, 0, of, width)


def det(photographs, found, names=("object",)):
    return score(detections_of(found), scenes_of(photographs, names), "ilsvrc_det")


def test_small_objects_need_less_overlap():
    """A tenth more pixels on each side is allowed: 10 x 10 needs 100 / 400."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 100, 100], [5, 5, 15, 25]], dtype=np.float32)
    np.testing.assert_allclose(limits(boxes), [0.25, 0.5, 200 / (20 * 30)])
    small = [[((0, 0, 10, 10), 0, False)]]
    assert det(small, [(0, (0, 0, 10, 2.5), 0.9, 0)])["det"] == 100
    assert det(small, [(0, (0, 0, 10, 2.4), 0.9, 0)])["det"] == 0
    large = [[(BOX, 0, False)]]
    assert det(large, [(0, right_part(50), 0.9, 0)])["det"] == 100  # exactly one half
    assert det(large, [(0, right_part(49), 0.9, 0)])["det"] == 0


def test_a_detection_takes_the_best_object_that_is_free():
    """Other than in VOC, where the second detection of the same object would be wrong."""
    near = (0, 0, 100, 80)
    photograph = [[(BOX, 0, False), (near, 0, False)]]
    found = [(0, BOX, 0.9, 0), (0, BOX, 0.8, 0)]
    assert det(photograph, found)["det"] == 100
    assert score(detections_of(found), scenes_of(photograph), "voc")["voc12"] == 50
    third = det(photograph, [*found, (0, BOX, 0.85, 0)])["det"]
    assert third == 100  # after both were found
    assert det(photograph, [(0, BOX, 0.9, 0), (0, (500, 0, 600, 50), 0.85, 0), found[1]])[
        "det"
    ] == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_a_blacklisted_class_counts_in_no_way_in_its_photograph():
    marked = [[(BOX, 0, True), ((0, 0, 1000, 1000), 0, True), (BOX, 1, False)], [(BOX, 0, False)]]
    found = [(0, (500, 0, 600, 50), 0.9, 0), (0, BOX, 0.8, 0), (1, BOX, 0.7, 0), (0, BOX, 0.6, 1)]
    made = det(marked, found, ("cat", "dog"))
    assert made["det"] == 100
    assert made["per_class"]["cat"] == {"det": 100, "num_objects": 1}
    assert made["num_objects"] == 2


def test_a_class_without_objects_is_in_no_mean():
    made = det([[(BOX, 0, False)]], [(0, BOX, 0.9, 0), (0, BOX, 0.9, 1)], ("cat", "dog"))
    assert made["det"] == 100
    assert made["per_class"]["dog"]["det"] is None
