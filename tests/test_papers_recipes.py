"""The recipes of the experiments are those that the papers print."""

import pytest

from tests.support.papers import plan


def test_the_recipe_of_imagenet_is_section_3_4():
    for row in plan("imagenet_depth").rows:
        if row.config is None:
            continue
        recipe = row.config.recipe
        assert (recipe.iterations, recipe.batch_size, recipe.bn_batch) == (600_000, 256, 32)
        assert (recipe.lr, recipe.lr_drop_factor, recipe.momentum) == (0.1, 0.1, 0.9)
        assert (recipe.weight_decay, recipe.decayed, recipe.nesterov) == (1e-4, "weights", False)
        assert (recipe.photo.scale, recipe.photo.pca, recipe.photo.jitter) == ([256, 480], 0.1, 0)
        assert (recipe.flip, recipe.input) == (True, "pixel_mean")
        assert row.config.model.stride_in == "1x1"


def test_the_recipe_of_table_6_is_section_4_2():
    for row in plan("cifar_depth").rows:
        if row.config is None:
            continue
        recipe = row.config.recipe
        assert (recipe.iterations, recipe.lr_drops) == (64000, [32000, 48000])
        assert (recipe.batch_size, recipe.bn_batch) == (128, 64)
        assert (recipe.lr, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 1e-4)
        assert (recipe.crop_padding, recipe.flip, recipe.nesterov) == (4, True, False)
        assert recipe.decayed == "weights"
        assert row.config.model.shortcut == "A"
        deep = row.name in ("ResNet-110", "ResNet-1202")
        assert (recipe.warmup.lr, recipe.warmup.until_train_error) == (
            (0.01, 80) if deep else (None, None)
        )


@pytest.mark.parametrize("name", ["preact_shortcuts", "preact_order", "preact_depth"])
def test_the_recipe_of_paper_2_is_its_appendix(name):
    for row in plan(name).rows:
        recipe = row.config.recipe
        assert (recipe.iterations, recipe.lr_drops) == (64000, [32000, 48000])
        assert (recipe.batch_size, recipe.bn_batch, recipe.lr) == (128, 64, 0.1)
        assert (recipe.momentum, recipe.weight_decay, recipe.nesterov) == (0.9, 1e-4, False)
        assert (recipe.warmup.lr, recipe.warmup.iterations) == (0.01, 400)
        assert recipe.warmup.until_train_error is None
        assert (recipe.crop_padding, recipe.flip, recipe.input) == (4, True, "pixel_mean")
        assert row.seeds == (0, 1, 2, 3, 4)


def test_the_recipe_of_batch_64_is_fb_resnet_torchs():
    row = next(row for row in plan("preact_best").rows if row.name.endswith("batch 64"))
    recipe, epoch = row.config.recipe, 50_000 / 64
    assert (recipe.batch_size, recipe.bn_batch) == (64, 32)
    assert recipe.iterations == 200 * epoch
    assert recipe.lr_drops == [int(80 * epoch), int(121 * epoch)]
    assert (recipe.nesterov, recipe.decayed, recipe.input) == (True, "all", "channels")
    assert recipe.warmup.lr is None


@pytest.mark.parametrize("name", ["resnext_cifar", "resnext_width"])
def test_the_recipe_of_paper_3_on_cifar_is_appendix_a(name):
    for row in plan(name).rows:
        if row.config is None:
            continue
        recipe, epoch = row.config.recipe, 50_000 / 128
        assert (recipe.batch_size, recipe.bn_batch, recipe.lr) == (128, 16, 0.1)
        assert (recipe.weight_decay, recipe.momentum, recipe.nesterov) == (5e-4, 0.9, True)
        assert [recipe.iterations, *recipe.lr_drops] == [
            pytest.approx(each * epoch, abs=1) for each in (300, 150, 225)
        ]
        assert (recipe.crop_padding, recipe.flip, recipe.input) == (4, True, "channels")
        assert len(row.seeds) == 10


# Iterations, their drop, photographs, learning rate and weight decay of proposals and of regions.
DETECTION = {
    "voc_detection": [(80_000, 60_000, 1, 0.001, 5e-4), (60_000, 30_000, 2, 0.001, 5e-4)],
    "voc12_detection": [(80_000, 60_000, 1, 0.001, 5e-4), (100_000, 40_000, 2, 0.001, 5e-4)],
    "coco_detection": [(320_000, 240_000, 8, 0.001, 5e-4), (320_000, 240_000, 16, 0.001, 5e-4)],
    "imagenet_detection": [(320_000, 240_000, 8, 0.001, 5e-4), (320_000, 240_000, 16, 0.001, 5e-4)],
    "resnext_detection": [(180_000, 120_000, 16, 0.02, 1e-4), (180_000, 120_000, 8, 0.005, 1e-4)],
}


@pytest.mark.parametrize("name", DETECTION)
def test_the_recipes_of_detectors_are_those_of_the_appendices(name):
    """[He15] App. A and B with the released code of [Ren15]; [Xie17] App. B."""
    expected = dict(zip(("proposals", "regions"), DETECTION[name], strict=True))
    on_coco = "voc" not in name
    for run in plan(name).runs:
        recipe, detector = run.config.recipe, run.config.detector
        if not detector.is_used:
            continue
        *before, lr, weight_decay = expected[detector.step]
        if "at 0.003" in run.row:
            lr = 0.003
            assert "[Ren15] v3, 0.003;" in recipe.deviations["lr"]
        assert [*before, lr, weight_decay] == [
            recipe.iterations, *recipe.lr_drops, recipe.batch_size, recipe.lr, recipe.weight_decay,
        ]  # fmt: skip
        # Only that of regions on VOC is a guess, by the name of a file of the released code.
        schedule = recipe.deviations.get("schedule") or ""
        assert bool(schedule) == (detector.step == "regions" and not on_coco)
        if schedule:
            drop, end = *recipe.lr_drops, recipe.iterations
            assert f"its schedule {drop // 1000}k{end // 1000}k," in schedule
            assert f"at {drop:,} of {end:,} iterations" in schedule
        assert (recipe.momentum, recipe.decayed, recipe.flip) == (0.9, "all", True)
        assert detector.anchors == ([4, 8, 16, 32] if on_coco else [8, 16, 32])
        assert (detector.sampled_anchors, detector.sampled_regions) == (256, 64)
        assert (detector.min_size, detector.num_proposals, detector.bias_lr) == (16, 2000, 2)
        assert detector.step == "proposals" or detector.background == [0.0 if on_coco else 0.1, 0.5]
        evaluation = run.config.evaluation
        assert (evaluation.num_proposals, evaluation.nms) == (300, 0.3)
        limits = {"voc": (0.0, None), "coco": (0.05, 100), "ilsvrc_det": (0.001, 300)}
        if detector.step == "regions":
            assert (evaluation.threshold, evaluation.most) == limits[run.config.data.name]


@pytest.mark.parametrize("name", ["imagenet_localisation", "imagenet_localisation_regions"])
def test_the_recipes_of_localisation_are_those_of_appendix_c(name):
    """[He15] App. C: 256 crops of 224 pixels with 8 anchors each; then 256 of 200 proposals."""
    for run in plan(name).runs:
        recipe, detector = run.config.recipe, run.config.detector
        if not detector.is_used:
            continue
        regions = detector.step == "localisation_regions"
        assert run.config.data.image_size == 224
        assert (recipe.iterations, [*recipe.lr_drops]) == (64_000, [48_000])
        assert (recipe.lr, recipe.weight_decay, recipe.momentum) == (0.001, 1e-4, 0.9)
        if regions:
            assert recipe.batch_size * detector.sampled_regions == 256
            assert detector.num_proposals == run.config.evaluation.num_proposals == 200
        else:
            assert (recipe.batch_size, detector.sampled_anchors) == (256, 8)
            assert [*recipe.photo.scale] == [256, 480]


def test_proposals_and_regions_trained_at_once_are_the_end2end_of_py_faster_rcnn():
    """In one step, which the paper does not do, and which the recipe says."""
    joint, steps = plan("voc_joint").rows[1].config, plan("voc_detection").rows[1].config
    recipe, detector = joint.recipe, joint.detector
    assert (recipe.iterations, [*recipe.lr_drops], recipe.batch_size) == (70_000, [50_000], 2)
    assert (detector.step, detector.sampled_regions, detector.background) == (
        "joint",
        128,
        [0, 0.5],
    )
    assert (recipe.lr, recipe.weight_decay) == (steps.recipe.lr, steps.recipe.weight_decay)
    assert joint.model == steps.model and joint.data == steps.data
    assert "at once" in recipe.deviations["joint"]
    assert recipe.deviations["proposals"] != steps.recipe.deviations["proposals"]


def test_a_file_in_place_of_the_classifier_is_one_change_and_what_stood_there_none(tmp_path):
    """And the recipe no longer says that the classifier is of our own training."""
    (tmp_path / "resnet101-63fe2227.pth").write_bytes(b"weights")
    file = f"steps.classification.weights={tmp_path}/resnet101-63fe2227.pth"
    for name in ("voc_detection", "coco_detection"):
        shipped, given = (
            next(row for row in plan(name, *words).rows if row.name == "ResNet-101")
            for words in ((), (file, "row=ResNet-101"))
        )
        keys = {key for key, _, _ in given.changes}
        assert not {key for key in keys if key.startswith("steps.classification.")}
        assert {key.rpartition(".")[2] for key in keys} == {"weights", "weights_sha256"}
        assert "our own run" in shipped.config.recipe.deviations["classifier"]
        text = given.config.recipe.deviations["classifier"]
        assert "in resnet101-63fe2227.pth, which is not of our training" in text


def test_rows_without_box_refinement_stay_so_where_it_is_to_be_per_class():
    rows = plan("coco_improvements", "evaluation.refine_per_class=true").rows
    keys = {row.name: row.config.evaluation.key for row in rows if row.config}
    assert keys["ResNet-101"] == "boxes 600 above:0.05 most:100"
    assert keys["+box refinement"] == "boxes 600 refined-per-class above:0.05 most:100"
    assert keys["+multi-scale testing"].startswith("boxes 200,400,600,800,1000 refined-per-class")


def test_the_recipe_of_paper_2_on_imagenet_drops_after_30_and_60_epochs():
    epoch = 5005
    for row in plan("imagenet_preact").rows:
        if row.config is None:
            continue
        recipe = row.config.recipe
        assert (recipe.iterations, recipe.lr_drops) == (90 * epoch, [30 * epoch, 60 * epoch])
        assert (recipe.batch_size, recipe.bn_batch, recipe.warmup.lr) == (256, 32, None)
        with_aspect = "aspect" in row.name
        assert recipe.photo.scale == (None if with_aspect else [256, 480])
        assert recipe.nesterov == with_aspect
