"""What detectors cost, and the steps before them: sizes, times, and the files of proposals."""

import json
from dataclasses import replace

import pytest
import torch

from resnet_repro.cost import calibration
from resnet_repro.cost.estimates import Estimates
from resnet_repro.cost.forward_work import (
    last_test,
    num_test_images,
    preparation,
    proposal_bytes,
    protocol_test,
    quick_test,
)
from resnet_repro.cost.sizes import measure, training_bytes
from resnet_repro.cost.table import plan_cost
from resnet_repro.engine import timing
from resnet_repro.errors import UserError
from resnet_repro.settings.data import BoxesConfig
from tests.support.costs import RATE, plan_text, row_of
from tests.support.paths import REFERENCE
from tests.support.plans import plan

COUNTS = json.loads((REFERENCE / "param_counts.json").read_text())


@pytest.fixture
def by_size(machine, monkeypatch):
    """Time detectors by their multiply-adds, on the machine whose speed is known."""
    speed = lambda config: RATE / measure(config).multiply_adds  # noqa: E731
    monkeypatch.setattr(calibration, "images_per_second", speed)


@pytest.mark.parametrize(
    ("experiment", "row", "classifier", "inputs"),
    [
        ("voc_detection", "ResNet-101", "ResNe(X)t-101 1x64d", 2048),
        ("resnext_detection", "ResNeXt-50 32x4d", "ResNe(X)t-50 32x4d", 2048),
        ("coco_improvements", "+context", "ResNe(X)t-101 1x64d", 4096),
    ],
)
def test_a_detector_is_the_classifier_without_its_last_layer_and_the_new_ones(
    experiment, row, classifier, inputs
):
    config = row_of(plan(experiment), row).config
    anchors, outputs = 3 * len(config.detector.anchors), 5 * (config.data.num_classes + 1)
    last = 2048 * 1000 + 1000
    proposer = (9 * 1024 + 1) * 512 + (512 + 1) * 6 * anchors
    body = COUNTS[classifier]["params"] - last
    assert measure(config).params == body + proposer + (inputs + 1) * outputs


def test_the_multiply_adds_of_a_step_are_those_of_what_it_trains():
    made = plan("coco_improvements")
    without, context = (measure(row_of(made, name).config) for name in ("ResNet-101", "+context"))
    assert context.multiply_adds - without.multiply_adds == 64 * 2048 * 5 * 81
    runs = plan("voc_detection", "row=ResNet-101").runs
    of_proposals, of_regions = (measure(run.config).multiply_adds for run in runs[1:3])
    # conv5_x of 64 regions against 3x3 and 1x1 layers on a map of 38 x 50.
    per_position = 9 * 1024 * 512 + 512 * 6 * 9
    conv5 = 64 * (49 * 14_942_208 + 2048 * 105)
    assert of_regions - of_proposals == conv5 - 38 * 50 * per_position


def test_anchors_and_context_make_another_network_than_the_counted_one():
    for words, expected in (
        ((), True),
        (("detector.sampled_regions=32",), True),
        (("detector.anchors=[4,8]",), False),
        (("detector.context=true",), False),
    ):
        row = row_of(plan("voc_detection", *words), "ResNet-101")
        assert row.is_network_as_shipped == expected
        assert (measure(row.config).params == row.exact.params) == expected


def test_whole_photographs_have_the_area_of_four_to_three():
    row = row_of(plan("imagenet_multiscale"), "ResNet-50")
    areas = sum(size * size * 4 / 3 for size in (224, 256, 384, 480, 640))
    assert protocol_test(row.config) == pytest.approx(50_000 * areas / 224**2)


def test_vgg_has_no_statistics_to_compute():
    steps = [plan("voc_detection", f"row={name}").runs[1] for name in ("VGG-16", "ResNet-101")]
    assert [preparation(run) > 0 for run in steps] == [False, True]


@pytest.mark.parametrize(
    ("experiment", "sets", "number"),
    [
        ("voc_joint", ["VOC2007/train", "VOC2007/val"], 5011),
        ("imagenet_detection", ["val"], 20_121),
    ],
)
def test_the_photographs_of_a_set_are_counted_without_reading_it(experiment, sets, number):
    data = row_of(plan(experiment), "ResNet-101").config.data
    boxes = BoxesConfig(train=sets, test=sets)
    assert num_test_images(replace(data, boxes=boxes)) == number


def test_frozen_layers_and_few_regions_need_less_memory():
    runs = plan("voc_detection", "row=ResNet-101").runs
    needed = {run.row.split()[-1]: training_bytes(run.config) for run in runs}
    assert needed["proposals2"] < needed["proposals1"]
    assert needed["ResNet-101"] < needed["regions1"]
    few = plan("voc_detection", "row=ResNet-101", "detector.sampled_regions=8").runs[-1]
    assert training_bytes(few.config) < needed["ResNet-101"]


def test_every_step_of_a_plan_has_its_time(tmp_path, by_size):
    made = plan("coco_improvements", f"results={tmp_path}", "row=[ResNet-101,+box refinement]")
    estimates = Estimates(made)
    classification, proposals, regions, refined = made.runs  # steps that rows share are there once
    assert classification.row == "ResNet-101 classification"
    for run in (proposals, regions):
        config, speed = run.config, RATE / measure(run.config).multiply_adds
        images = 320_000 * config.recipe.batch_size
        forward = preparation(run) + quick_test(config) + last_test(config)
        assert estimates.seconds_left(run) == pytest.approx(
            (images + forward / 3) / speed, rel=0.01
        )
    body, ours = measure(proposals.config).multiply_adds, measure(regions.config).multiply_adds
    photographs = 82_783 + 40_504
    classifiers = 50_000 * measure(classification.config).multiply_adds
    assert preparation(proposals) == pytest.approx(classifiers / body)
    assert preparation(regions) == pytest.approx((photographs * body + classifiers) / ours)
    assert last_test(regions.config) == 0
    assert last_test(refined.config) > quick_test(refined.config)
    assert proposal_bytes(regions.config) == 16 * (82_783 * 2000 + 40_504 * 300)
    costs = {cost.id: cost for cost in plan_cost(made).runs}
    assert costs[refined.id].same_as == regions.id
    test = last_test(refined.config) / 3 / (RATE / measure(refined.config).multiply_adds)
    assert costs[refined.id].seconds == pytest.approx(test, rel=0.01)
    assert "for a photograph of 600 x 800 pixels" in plan_text(made)


def test_an_ensembles_test_is_part_of_the_total_once(tmp_path, by_size):
    """Two rows have the same members and test: each of three networks takes the regions of all."""
    made = plan("imagenet_localisation_regions", f"results={tmp_path}", "model.depth=18")
    assert len(made.ensembles) == 2
    cost, members = plan_cost(made), made.ensembles[0].needs
    speed = RATE / measure(members[0].config).multiply_adds
    test = 3 * 3 * protocol_test(members[0].config) / 3 / speed
    alone = sum(each.seconds for each in cost.runs)
    assert cost.totals.seconds == pytest.approx(alone + test, rel=0.01)
    assert "for testing Ensemble of 3." in " ".join(cost.notes)


def test_each_detector_of_an_ensemble_classifies_the_regions_of_all(tmp_path, by_size):
    made = plan("coco_improvements", f"results={tmp_path}")
    (ensemble,) = made.ensembles
    one, estimates = ensemble.needs[0], Estimates(made)
    several = replace(ensemble.evaluation, num_proposals=3 * ensemble.evaluation.num_proposals)
    work = 3 * protocol_test(replace(one.config, evaluation=several))
    speed = RATE / measure(one.config).multiply_adds
    assert estimates.seconds_of_ensemble(ensemble) == pytest.approx(work / 3 / speed, rel=0.01)


def test_a_budget_buys_a_row_with_its_steps(tmp_path, by_size):
    made = plan("coco_detection", f"results={tmp_path}", "row=ResNet-101")
    estimates = Estimates(made)
    whole = sum(estimates.seconds_left(run) for run in made.runs)
    few, bought = (lambda cost: (cost.runs, cost.budget))(plan_cost(made, whole + 1))
    assert [run.row.split()[-1] for run in few] == ["classification", "proposals", "ResNet-101"]
    assert bought.seconds_chosen == pytest.approx(whole)
    with pytest.raises(UserError, match="the shortest, ResNet-101-seed0"):
        plan_cost(made, whole - 1)


@pytest.mark.parametrize("step", ["proposals", "regions"])
def test_the_step_of_a_small_detector_is_timed_without_data(step):
    words = ["detector.num_proposals=64", "data.image_size=96", "model.width=8"]
    runs = plan("detection_quickstart", *words).runs
    run = next(each for each in runs if each.config.detector.step == step)
    assert timing.num_timed(run.config) == 3
    assert 0 < timing.images_per_second(run.config) < 1e4
    assert torch.is_grad_enabled()
