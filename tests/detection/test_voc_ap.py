"""Scores by the rules of PASCAL VOC, and recall."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from resnet_repro.detection.scenes import load_scenes
from resnet_repro.detection.scores import recall, score
from resnet_repro.detection.voc_ap import curve
from tests.support.scenes import boxes_config, detections_of, real, scenes_of


@pytest.fixture(scope="module")
def voc():
    """Return 100 photographs of VOC, real detections of them, and their known scores."""
    root = real("voc2012-100")
    scenes = load_scenes(boxes_config(root, ["val"], ["val"], num_classes=20)).test
    found = []
    for position, scene in enumerate(scenes):
        file = root / "detections" / f"{scene.name}.txt"
        for line in file.read_text().splitlines() if file.exists() else []:
            label, value, *corners = line.split()
            x1, y1, x2, y2 = map(float, corners)
            found.append((position, (x1 - 1, y1 - 1, x2, y2), float(value), int(label)))
    known = json.loads((real("evaluation") / "voc2012-100-ap.json").read_text())
    return scenes, detections_of(found), known


def test_real_detections_have_the_scores_that_other_programs_give(voc):
    scenes, detections, known = voc
    made = score(detections, scenes, "voc")
    assert (made["num_images"], made["num_objects"]) == (100, 273 - 38)
    assert made["voc07"] == pytest.approx(60.7511, abs=5e-5)
    assert made["voc12"] == pytest.approx(61.3875, abs=5e-5)
    for name, each in made["per_class"].items():
        assert each["voc07"] == pytest.approx(100 * known["11-point@0.5"][name], abs=1e-4)
        assert each["voc12"] == pytest.approx(100 * known["area@0.5"][name], abs=1e-4)
        assert each["num_objects"] == known["counts [non-difficult, difficult]"][name][0]
    strict = [curve(detections.sorted(), scenes, label, 0.75) for label in range(20)]
    for name, each in zip(scenes.class_names, strict, strict=True):
        assert each.eleven_points == pytest.approx(known["11-point@0.75"][name], abs=1e-6)
        assert each.area == pytest.approx(known["area@0.75"][name], abs=1e-6)
    assert np.mean([each.eleven_points for each in strict]) == pytest.approx(0.372755, abs=5e-7)
    assert np.mean([each.area for each in strict]) == pytest.approx(0.365919, abs=5e-7)


def test_wrong_rules_would_give_other_scores(voc):
    scenes, detections, _ = voc
    wanted = ~scenes.ignored
    removed = {name: getattr(scenes, name)[wanted] for name in ("boxes", "classes", "ignored")}
    offsets = np.concatenate([[0], np.cumsum(wanted)])[scenes.offsets]
    for wrong, shift, expected in (
        (replace(scenes, ignored=np.zeros_like(scenes.ignored)), 0, (59.897, 61.091)),
        (replace(scenes, offsets=offsets, **removed), 0, (59.230, 59.703)),
        (scenes, 1, (61.495, 61.842)),
    ):
        moved = replace(detections, boxes=detections.boxes + shift)
        made = score(moved, wrong, "voc")
        assert (made["voc07"], made["voc12"]) == pytest.approx(expected, abs=1e-3)


def test_the_order_of_the_detections_does_not_matter(voc):
    scenes, detections, _ = voc
    tied = replace(detections, scores=(detections.scores * 10).round() / 10)
    for each in (detections, tied):
        # Those of one photograph stay in the order that they were found in.
        by_photograph = [each.take(each.images == i) for i in reversed(range(100))]
        shuffled = each.concatenate(by_photograph)
        assert shuffled.checksum() != each.checksum()
        assert score(shuffled, scenes, "voc") == score(each, scenes, "voc")


def test_a_known_worked_example_at_four_overlaps():
    """The boxes there include their last pixel."""
    folder = real("evaluation") / "padilla-voc"
    objects, found = [], []
    for position, file in enumerate(sorted((folder / "gts").glob("*.txt"))):
        lines = [line.split() for line in file.read_text().splitlines()]
        corners = [[float(each) for each in words[1:]] for words in lines]
        objects.append([((x, y, x + w + 1, y + h + 1), 0, False) for x, y, w, h in corners])
        for line in (folder / "dets" / file.name).read_text().splitlines():
            value, x, y, w, h = map(float, line.split()[1:])
            found.append((position, (x, y, x + w + 1, y + h + 1), value, 0))
    scenes, detections = scenes_of(objects), detections_of(found).sorted()
    eleven = [curve(detections, scenes, 0, iou).eleven_points for iou in (0.1, 0.3, 0.5, 0.75)]
    assert eleven == pytest.approx([0.3333333333, 0.2683982683, 0.0303030303, 0], abs=1e-9)
    area = [curve(detections, scenes, 0, iou).area for iou in (0.1, 0.3, 0.5, 0.75)]
    assert area == pytest.approx([0.3371980676, 0.2456866804, 0.0222222222, 0], abs=1e-9)


BOX, HALF = (0, 0, 10, 10), (0, 0, 10, 5)  # with an overlap of exactly one half
AWAY = (500, 500, 510, 510)


@pytest.mark.parametrize(
    ("objects", "found", "expected"),
    [
        ([(BOX, False)], [(HALF, 0.9)], [1]),
        ([(BOX, False)], [((0, 0, 10, 4.99), 0.9)], [0]),
        ([(BOX, False)], [(BOX, 0.9), (BOX, 0.8)], [1, 1]),  # found twice: once wrong
        # The best object of all is taken, found before or not: the second detection is wrong.
        ([(BOX, False), ((0, 0, 10, 8), False)], [(BOX, 0.9), ((0, 0, 10, 9.5), 0.8)], [1, 1]),
        ([(BOX, True)], [(BOX, 0.9), (BOX, 0.8)], []),
        ([(BOX, True), (AWAY, False)], [(AWAY, 0.9), (BOX, 0.8), (HALF, 0.7)], [1]),
        ([(BOX, False)], [(AWAY, 0.9), (BOX, 0.8)], [0, 1]),
        ([], [(BOX, 0.9)], [0]),
    ],
)
def test_what_is_right_and_what_is_wrong(objects, found, expected):
    scenes = scenes_of([[(box, 0, ignored) for box, ignored in objects], []])
    detections = detections_of([(0, box, value, 0) for box, value in found])
    assert curve(detections.sorted(), scenes, 0).right.tolist() == expected


def test_a_recall_of_exactly_three_tenths_misses_its_point_as_in_other_programs():
    """In floats, three of ten is below 3 * 0.1, and so are six and seven."""
    objects = [[((20 * i, 0, 20 * i + 10, 10), 0, False) for i in range(10)]]
    for number in range(11):
        found = [(0, (20 * i, 0, 20 * i + 10, 10), 0.5, 0) for i in range(number)]
        made = score(detections_of(found), scenes_of(objects), "voc")
        reached = number + (number not in (0, 3, 6, 7))
        assert made["voc07"] == pytest.approx(100 * reached / 11)
        assert made["voc12"] == pytest.approx(10 * number)


def test_classes_without_objects_are_in_no_mean_and_missed_photographs_count():
    names = ("a", "b", "difficult", "nowhere")
    scenes = scenes_of(
        [[(BOX, 0, False), (BOX, 1, False), (BOX, 2, True)], [(BOX, 0, False)]], names
    )
    detections = detections_of([(0, BOX, 0.9, 0), (0, BOX, 0.8, 3)])
    made = score(detections, scenes, "voc")
    assert made["voc12"] == pytest.approx(25)
    assert [each["voc12"] for each in made["per_class"].values()] == [50, 0, None, None]
    nothing = score(detections_of([]), scenes, "voc")
    assert (nothing["voc07"], nothing["voc12"], nothing["num_objects"]) == (0, 0, 3)
    empty = score(detections, scenes_of([[], []], names), "voc")
    assert (empty["voc07"], empty["num_images"], empty["num_objects"]) == (None, 2, 0)


def test_precision_and_recall_are_those_of_the_falling_score():
    scenes = scenes_of([[(BOX, 0, False), (AWAY, 0, False)]])
    found = detections_of([(0, AWAY, 0.1, 0), (0, (50, 50, 60, 60), 0.5, 0), (0, BOX, 0.9, 0)])
    made = curve(found.sorted(), scenes, 0, 0.5)
    assert made.recall.tolist() == [0.5, 0.5, 1]
    assert made.precision.tolist() == pytest.approx([1, 0.5, 2 / 3])


def test_recall_counts_the_objects_that_some_proposal_overlaps():
    scenes = scenes_of([[(BOX, 0, False), (AWAY, 1, False), (BOX, 0, True)], [], [(BOX, 0, False)]])
    proposals = [[HALF, (500, 500, 510, 507)], [BOX], []]
    made = recall([torch.tensor(each).reshape(-1, 4).float() for each in proposals], scenes)
    assert made == {"num_images": 3, "num_objects": 3, "num_found": 2, "num_found_70": 1}
