"""Scores by the rules of COCO."""

import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch

from resnet_repro.detection.coco_results import write_coco_results
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.detection.scores import score
from resnet_repro.errors import UserError
from tests.support.scenes import (
    boxes_config,
    detections_of,
    photograph,
    real,
    scenes_of,
)

TWELVE = (
    *("map", "map50", "map75", "map_small", "map_medium", "map_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


def test_the_fake_detections_of_coco_have_the_scores_that_its_program_prints(tmp_path):
    """The photographs are not at hand: grey ones of their sizes are."""
    folder = real("evaluation") / "cocoapi"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    (tmp_path / "val2014").mkdir()
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    for image in truth["images"]:
        content = photograph(image["width"], image["height"], mode="L")
        (tmp_path / "val2014" / image["file_name"]).write_bytes(content)
    sets = ["truth.json:val2014"]
    scenes = load_scenes(boxes_config(tmp_path, sets, sets, kind="coco", num_classes=80)).test
    position = {int(id): i for i, id in enumerate(scenes.ids)}
    label = {id: i for i, id in enumerate(scenes.class_ids)}
    found = []
    for each in json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text()):
        x, y, width, height = each["bbox"]
        box = (x, y, x + width, y + height)
        found.append((position[each["image_id"]], box, each["score"], label[each["category_id"]]))
    made = score(detections_of(found), scenes, "coco")
    expected = [0.504581, 0.696973, 0.572982, 0.585626, 0.519400, 0.501398]
    expected += [0.386813, 0.593680, 0.595353, 0.639811, 0.566421, 0.564291]
    assert [made[key] / 100 for key in TWELVE] == pytest.approx(expected, abs=1e-6)
    printed = (folder / "val2014_fake_eval_res.txt").read_text().split("type=bbox")[1]
    lines = [line for line in printed.splitlines() if "Average" in line][:12]
    for key, line in zip(TWELVE, lines, strict=True):
        assert made[key] / 100 == pytest.approx(float(line.split("=")[-1]), abs=5.01e-4)
    assert made["num_images"] == 100


@pytest.fixture(scope="module")
def coco():
    """Return 22 photographs of COCO, with crowds, and detections of them, many of equal score."""
    config = boxes_config(
        real("coco-val2017-22"), ["val2017"], ["val2017"], kind="coco", num_classes=80
    )
    scenes = load_scenes(config).test
    generator = np.random.default_rng(0)
    at = np.repeat(np.arange(len(scenes.boxes)), 2)
    sides = np.tile(scenes.boxes[at, 2:] - scenes.boxes[at, :2], 2)
    boxes = scenes.boxes[at] + sides * generator.normal(0, 0.08, (len(at), 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
    scores = generator.random(len(at)).round(1)
    found = zip(scenes.owners[at], boxes.tolist(), scores, scenes.classes[at], strict=True)
    return scenes, detections_of([*found])


def of_pycocotools(detections, scenes, path):
    """Return what COCO's own program computes from its own file and from ours."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    write_coco_results(path, detections.sorted(), scenes)
    with redirect_stdout(StringIO()):
        truth = COCO(str(real("coco-val2017-22") / "annotations/instances_val2017.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(path)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def test_crowds_and_equal_scores_are_those_of_cocos_own_program(coco, tmp_path):
    scenes, detections = coco
    made = score(detections, scenes, "coco")
    theirs = of_pycocotools(detections, scenes, tmp_path / "results.json")
    assert [made[key] / 100 for key in TWELVE] == pytest.approx(theirs.stats.tolist(), abs=1e-12)
    assert 0.2 < theirs.stats[0] < 0.9
    assert (made["num_images"], made["num_objects"]) == (22, 251)
    precision = theirs.eval["precision"][:, :, :, 0, -1]
    for label, each in enumerate(made["per_class"].values()):
        values = precision[:, :, label]
        if (values > -1).any():
            assert each["map"] == pytest.approx(100 * values.mean())
            assert each["map50"] == pytest.approx(100 * values[0].mean())
        else:
            assert each == {"map": None, "map50": None}
    without_crowds = replace(scenes, ignored=np.zeros_like(scenes.ignored))
    assert abs(score(detections, without_crowds, "coco")["map"] - made["map"]) > 0.1


def test_results_have_the_numbers_of_the_annotations_and_every_digit(coco, tmp_path):
    scenes, detections = coco
    write_coco_results(tmp_path / "results.json", detections, scenes)
    rows = json.loads((tmp_path / "results.json").read_text())
    boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64)
    boxes[:, 2:] += boxes[:, :2]
    assert torch.equal(boxes.float(), detections.boxes)
    scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64)
    assert torch.equal(scores.float(), detections.scores)
    truth = json.loads((real("coco-val2017-22") / "annotations/instances_val2017.json").read_text())
    names = {each["id"]: each["name"] for each in truth["categories"]}
    assert [names[row["category_id"]] for row in rows] == [
        scenes.class_names[label] for label in detections.classes.tolist()
    ]
    files = {each["id"]: each["file_name"] for each in truth["images"]}
    assert [files[row["image_id"]] for row in rows] == [
        scenes[position].path.name for position in detections.images.tolist()
    ]


def test_results_of_photographs_that_share_their_numbers_are_not_written(coco, tmp_path, heard):
    scenes, detections = coco
    twice = scenes.take(np.array([0, 0]))
    none = detections.take(torch.zeros(len(detections), dtype=torch.bool))
    write_coco_results(tmp_path / "results.json", none, scenes)
    assert json.loads((tmp_path / "results.json").read_text()) == []
    write_coco_results(tmp_path / "twice.json", none, twice)
    assert not (tmp_path / "twice.json").exists()
    assert "photographs of the test set share their numbers" in heard.text


def test_the_order_of_detections_does_not_matter(coco):
    """That of equal scores would: here photographs are tested by other processes."""
    scenes, detections = coco
    expected = score(detections, scenes, "coco")
    parts = [detections.take(detections.images % 3 == rank) for rank in (2, 0, 1)]
    assert score(type(detections).concatenate(parts), scenes, "coco") == expected
    reversed_ties = detections.take(torch.arange(len(detections)).flip(0))
    assert score(reversed_ties, scenes, "coco") != expected  # of one photograph, the order counts


def test_nothing_found_and_nothing_to_find():
    box = (0, 0, 10, 10)
    scenes = scenes_of([[(box, 0, False)], []], ("a", "b"))
    made = score(detections_of([]), scenes, "coco")
    assert (made["map"], made["ar100"], made["map_large"]) == (0, 0, None)
    assert made["per_class"] == {"a": {"map": 0, "map50": 0}, "b": {"map": None, "map50": None}}
    made = score(detections_of([(0, box, 0.5, 0)]), scenes, "coco")
    assert (made["map"], made["map_small"], made["ar1"]) == (100, 100, 100)
    made = score(detections_of([(0, box, 0.5, 0)]), scenes_of([[], []], ("a", "b")), "coco")
    assert (made["map"], made["num_objects"]) == (None, 0)


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(UserError, match=r"pip install 'faster-coco-eval"):
        score(detections_of([]), scenes_of([[]]), "coco")
