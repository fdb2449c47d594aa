"""Every experiment file against the collection of published numbers."""

import pytest
from conftest import REFERENCE
from omegaconf import OmegaConf
from test_plan import plan

from resnet_repro.cli import CONF
from resnet_repro.report.cost import verify_text

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
PAPERS = OmegaConf.to_container(OmegaConf.load(REFERENCE / "papers.yaml"))
PUBLISHED = {
    row["id"]: row
    for paper in PAPERS["papers"]
    for table in paper["tables"].values()
    for row in table["rows"]
}
# Where experiments stand for a whole table: every row of it must be there.
WHOLE = {
    ("imagenet_plain",): "p1.t2.",
    ("imagenet_shortcuts", "imagenet_depth"): "p1.t3.",
    ("imagenet_depth",): "p1.repo.",
    ("imagenet_multiscale",): "p1.t4.",
    ("imagenet_ensemble",): "p1.t5.",
    ("cifar_depth",): "p1.t6.",
    ("cifar_plain",): "p1.f6.plain",
}


def first(values, *names):
    """Return the first of these values that is published; tables name it differently."""
    return next((values[name] for name in names if name in values), None)


def counts_of(model):
    """Return the counts that another table gives for the same network."""
    keys = ("family", "depth", "shortcut_option")
    return next(
        row["expect_computed"]
        for row in PUBLISHED.values()
        if "expect_computed" in row and all(row["model"].get(k) == model.get(k) for k in keys)
    )


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_printed_number_is_the_papers(experiment):
    for row in plan(experiment).rows:
        if row.paper.ref is None:
            assert row.paper.error is None, f"{row.name} has a number without a source"
            continue
        published = PUBLISHED[row.paper.ref]
        values = published["values"]
        assert row.paper.error == first(values, "error", "top1_err", "center_top1")
        assert row.paper.top5 == first(values, "top5_err", "center_top5", "top5_err_test")
        assert row.paper.mean == values.get("error_mean")
        assert row.paper.std == values.get("error_std")
        assert row.paper.error_above == values.get("error_lower_bound")
        assert row.paper.num_runs == values.get("runs", 1)
        if "layers" in values:
            assert row.paper.layers == values["layers"]
            millions = values["params_millions"]
            assert row.paper.params == (millions and pytest.approx(millions * 1e6))
        assert row.paper.other_images == ("top5_err_test" in values and not row.is_cited)
        assert row.is_cited == (published["origin"] != "ours")
        if row.exact:
            counts = published.get("expect_computed") or counts_of(published["model"])
            assert row.exact.params == counts["params"]
            assert row.exact.multiply_adds == counts["macs"]
            assert row.config.model.depth == published["model"]["depth"]
            option = published["model"].get("shortcut_option")
            assert option in (None, row.config.model.shortcut)


@pytest.mark.parametrize("experiments", WHOLE)
def test_no_row_of_a_paper_is_left_out(experiments):
    table = WHOLE[experiments]
    refs = [row.paper.ref for experiment in experiments for row in plan(experiment).rows]
    ours = dict.fromkeys(ref for ref in refs if ref and ref.startswith(table))
    assert list(ours) == [ref for ref in PUBLISHED if ref.startswith(table)]


def test_the_same_network_is_the_same_run_in_every_table():
    """Table 4 tests the networks of Table 3, and Table 5 those of Table 4."""
    runs = {
        experiment: {run.digest for run in plan(experiment).runs}
        for experiment in EXPERIMENTS
        if experiment.startswith("imagenet_")
    }
    table_3 = runs["imagenet_shortcuts"] | runs["imagenet_depth"]
    assert len(table_3) == 7
    assert runs["imagenet_multiscale"] < table_3
    assert len(runs["imagenet_ensemble"] - table_3) == 1  # the second of 152 layers
    assert len(runs["imagenet_plain"] & table_3) == 2


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


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_network_is_the_papers(experiment):
    text, agrees = verify_text(plan(experiment))
    assert agrees, text


def test_a_wrong_network_does_not_verify():
    text, agrees = verify_text(plan("cifar_depth", "model.width=17", "row=ResNet-20"))
    assert not agrees
    assert "differs: params, exact params, exact multiply-adds" in text


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
