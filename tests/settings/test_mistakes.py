"""Settings that are wrong, or do not go together, are named before anything runs."""

import json
from dataclasses import replace

import pytest

from resnet_repro.data import load_data
from resnet_repro.errors import UserError
from tests.support.plans import plan


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("row=FitNet", "is cited, not run"),
        ("model.shortcut=D", "model.shortcut=D: must be one of none, A, B, C"),
        ("recipe.batch_size=100", "not a multiple of recipe.bn_batch=64"),
        ("recipe.lr_drops=[5,3]", "must be increasing iterations"),
        ("recipe.precision=fp8", "fp32, tf32, bf16"),
        ("recipe.warmup.lr=0.1", "set either until_train_error or iterations"),
        ("recipe.warmup={lr:0.1,until_train_error:0.8}", "in percent, 1 to 100"),
        ("recipe.lr_drop_factor=-1", "above 0, at most 1"),
        ("model.stride_in=3x3", "only bottleneck networks"),
        ("model.num_classes=5", "follows data.num_classes=10"),
        ("compute.device=xpu", "must be one of auto, cpu"),
        ("seeds=[1,1]", "distinct whole numbers"),
        ("seeds=[-1]", "distinct whole numbers"),
        ("seeds=[]", "distinct whole numbers"),
        ("row=[]", "name one of ResNet-20"),
        ("row=1.5", r"cifar_depth has no row 1\.5"),
    ],
)
def test_wrong_values_are_named(override, message):
    with pytest.raises(UserError, match=message):
        plan("cifar_depth", override)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("experiment=cifar_depth", "recipe.crop_padding=1000000000000"),
            "crop_padding=1000000000000: must be at most data.image_size=32",
        ),
        (("experiment=imagenet_plain", "data=cifar10"), "CIFAR-10 is held in memory: set recipe="),
        (
            ("experiment=cifar_depth", "data=imagenet"),
            "recipe.crop_padding=4 is for images held in",
        ),
        (
            ("experiment=cifar_depth", "evaluation=ten_crop"),
            "is held in memory: set evaluation=single_view",
        ),
        (("experiment=imagenet_plain", "evaluation=single_view"), "photographs need evaluation="),
        (
            ("experiment=imagenet_plain", "recipe.photo.scale=[100,300]"),
            "must be at least data.image_size",
        ),
        (("experiment=imagenet_plain", "recipe.plateau.window=9"), "set 'recipe.lr_drops=[]'"),
        *(
            ((f"experiment={detector}", f"evaluation.{test}"), f"evaluation.{test} is for classif")
            for detector in ("voc_joint", "imagenet_localisation")
            for test in ("flip=true", "batch_norm=reestimated", "responses=true")
        ),
        (
            ("experiment=voc_joint", "steps.classification.weights=~no-such-user/w.pth"),
            "no user has that",
        ),
        (
            ("experiment=imagenet_plain", "evaluation.crop=300"),
            "crop=300: must be 8 to 256 pixels",
        ),
        (("experiment=voc_joint", "weights=w.pth"), "weights= works with `import` only"),
        (("experiment=voc_joint", "pack=all.tar.gz"), "pack= works with `collect` only"),
        (
            ("experiment=detection_quickstart", "data=coco2017"),
            "is a table of voc07, and tests of photographs with data.name=coco give map50 and map",
        ),
        (
            ("experiment=preact_order", "row=ResNet-164 original", "model.cardinality=32x2d"),
            "groups of 2 channels at width 64 have none at model.width=16",
        ),
        (
            (
                "experiment=quickstart",
                "row=ResNet-8",
                "model.name=vgg16",
                "model.depth=16",
                "model.shortcut=none",
            ),
            "vgg16 halves images five times, which needs at least 32 pixels",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_before_anything_runs(run_cli, words, message):
    outcome = run_cli("plan", *words)
    assert outcome.code == 1
    assert message in outcome.err


@pytest.mark.parametrize(
    ("experiment", "word", "only"),
    [
        ("cifar_depth", "detector.anchors=[4]", "is for detectors"),
        ("cifar_depth", "recipe.plateau.patience=3", "needs recipe.plateau.window"),
        ("cifar_depth", "recipe.photo.interpolation=bicubic", "photographs of classifiers"),
        ("cifar_depth", "evaluation.sizes=[300]", "evaluation.protocol=single_view for images"),
        ("imagenet_plain", "recipe.photo.aspect=[1,2]", "needs recipe.photo.area"),
        ("imagenet_plain", "evaluation.num_proposals=10", "is for tests of detectors"),
        ("voc_joint", "recipe.photo.interpolation=bicubic", "photographs of classifiers"),
        ("voc_joint", "recipe.input=channels", "is for classifiers"),
        ("voc_joint", "evaluation.crop=200", "is for crops"),
        ("voc_joint", "evaluation.interpolation=bicubic", "is for crops"),
        ("imagenet_localisation", "recipe.input=channels", "is for classifiers"),
        ("imagenet_localisation", "evaluation.nms=0.5", "is for tests of detectors"),
        ("imagenet_localisation", "evaluation.refine_per_class=true", "tests of detectors"),
        ("imagenet_localisation", "evaluation.num_proposals=10", "and of localisation_regions"),
        ("imagenet_localisation_regions", "evaluation.most=10", "is for tests of detectors"),
    ],
)
def test_settings_without_an_effect_are_refused(run_cli, experiment, word, only):
    """They would make another run, with the same result."""
    outcome = run_cli("plan", f"experiment={experiment}", word)
    assert outcome.code == 1
    assert f"{word.partition('=')[0]}=" in outcome.err
    assert only in outcome.err


def test_verify_needs_an_experiment_for_what_is_of_one(run_cli):
    outcome = run_cli("verify", "row=ResNet-56", "model.shortcut=B")
    assert outcome.code == 1
    assert "row=ResNet-56 is for one experiment: add experiment=NAME" in outcome.err


def test_a_smoke_test_shortens_a_row_of_its_own_length_too(run_cli):
    outcome = run_cli("status", "experiment=preact_best", "debug=smoke", "format=json")
    assert outcome.code == 0, outcome.err
    assert {run["iterations"] for run in json.loads(outcome.out)["runs"]} == {4}


def test_settings_of_the_chosen_row_need_not_suit_the_others(run_cli):
    outcome = run_cli("verify", "experiment=imagenet_depth", "row=ResNet-50", "model.stride_in=3x3")
    assert "| ResNet-50 |     50 |" in outcome.out
    quoted = run_cli("plan", "experiment=imagenet_plain", "row=ResNet-18", "A")
    assert "a value with a space is quoted: 'row=ResNet-18 A'" in quoted.err


def test_settings_that_are_not_the_datas_are_refused(config):
    wrong = replace(config.data, num_classes=12)
    with pytest.raises(UserError, match=r"synthetic has 10 classes: set data\.num_classes=10"):
        load_data(wrong)
    with pytest.raises(UserError, match=r"data\.generate is the synthetic set's size"):
        load_data(replace(config.data, name="cifar10"))
