"""Every experiment file against the collection of published numbers."""

import json
import re
from functools import lru_cache

import pytest
from conftest import REFERENCE
from omegaconf import OmegaConf
from test_plan import plan as compose

from resnet_repro.cost.networks import check_networks, networks_text
from resnet_repro.judge.claims import pairs
from resnet_repro.settings.groups import CONF

plan = lru_cache(compose)  # it takes a second for the larger tables
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
PAPERS = OmegaConf.to_container(OmegaConf.load(REFERENCE / "papers.yaml"))
PUBLISHED = {
    row["id"]: row
    for paper in PAPERS["papers"]
    for table in paper["tables"].values()
    for row in table["rows"]
}
COUNTS = {
    (counts["params"], counts["macs"])
    for counts in json.loads((REFERENCE / "param_counts.json").read_text()).values()
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
    ("preact_shortcuts",): "p2.t1.",
    ("preact_order",): "p2.t2.",
    ("preact_depth",): "p2.t3.",
    ("preact_best",): "p2.t4.",
    ("imagenet_preact",): "p2.t5.",
    ("resnext_cardinality",): "p3.t3.",
    ("resnext_complexity",): "p3.t4.",
    ("resnext_sota",): "p3.t5.",
    ("resnext_residual",): "p3.tres.",
    ("resnext_cifar",): "p3.t7.",
    ("resnext_width",): "p3.f7.",
}


def first(values, *names):
    """Return the first of these values that is published; tables name it differently."""
    return next((values[name] for name in names if name in values), None)


# Rows whose size is printed apart from their error.
SIZES = {
    ("imagenet_plain", "plain-18"): "p1.t1.plain18",
    ("imagenet_plain", "ResNet-18 A"): "p1.t1.resnet18",
    ("imagenet_plain", "plain-34"): "p1.t1.plain34",
    ("imagenet_plain", "ResNet-34 A"): "p1.t1.resnet34",
    ("imagenet_shortcuts", "plain-34"): "p1.t1.plain34",
    ("imagenet_shortcuts", "ResNet-34 A"): "p1.t1.resnet34",
    ("imagenet_depth", "ResNet-50"): "p1.t1.resnet50",
    ("imagenet_depth", "ResNet-101"): "p1.t1.resnet101",
    ("imagenet_depth", "ResNet-152"): "p1.t1.resnet152",
    ("resnext_cardinality", "ResNet-50 1x64d"): "p3.t1.resnet50",
    ("resnext_cardinality", "ResNeXt-50 32x4d"): "p3.t1.resnext50",
}


def errors_of(row, values):
    """Return the published errors of a row: some tables have several columns."""
    config = row.config
    if "error_c10" in values:
        hundred = "CIFAR-100" in row.name
        return values["error_c100" if hundred else "error_c10"], None
    if "val_top1_err_with" in values:
        way = "without" if config.model.shortcut == "none" else "with"
        return values[f"val_top1_err_{way}"], None
    if "top1_err_224" in values:
        crop = "224" if config and config.evaluation.crop == 224 else "320_or_299"
        return values[f"top1_err_{crop}"], values[f"top5_err_{crop}"]
    error = first(values, "error", "top1_err", "center_top1")
    return error, first(values, "top5_err", "center_top5", "top5_err_test")


def statistic_of(published):
    """Return the statistic and number of runs in the words of the collection."""
    values, words = published["values"], published.get("reported_as", "")
    if published.get("notes") == "= Table 7":
        return "mean", 10
    if match := re.search(r"(median|mean) of (\d+)", words):
        return match[1], int(match[2])
    return ("best" if "runs" in values else "single"), values.get("runs", 1)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_printed_number_is_the_papers(experiment):
    for row in plan(experiment).rows:
        if row.paper.ref is None:
            assert row.paper.error is None, f"{row.name} has a number without a source"
            continue
        published = PUBLISHED[row.paper.ref]
        values = published["values"]
        assert (row.paper.error, row.paper.top5) == errors_of(row, values)
        assert row.paper.fail == (published.get("status") == "fail")
        assert row.paper.mean == values.get("error_mean")
        assert row.paper.std == values.get("error_std")
        assert row.paper.error_above == values.get("error_lower_bound")
        kind, num_runs = statistic_of(published)
        assert row.paper.num_runs == num_runs
        assert num_runs == 1 or row.paper.statistic.startswith(kind)
        if "layers" in values:
            assert row.paper.layers == values["layers"]
        if "params_millions" in values:
            millions = values["params_millions"]
            assert row.paper.params == (millions and pytest.approx(millions * 1e6))
        assert row.paper.other_images == ("top5_err_test" in values and not row.is_cited)
        assert row.is_cited == (published["origin"] != "ours")
        if row.config:
            check_network(row, published["model"])
        sizes = PUBLISHED.get(SIZES.get((experiment, row.name)), {"values": {}})["values"]
        assert row.paper.multiply_adds == first(sizes, "flops_multiply_adds", "flops")
        if "params" in sizes:
            assert row.paper.params == sizes["params"]
        if row.exact:
            assert (row.exact.params, row.exact.multiply_adds) in COUNTS


def check_network(row, published):
    """The network, its data and its test are the published row's."""
    model, family = row.config.model, published.get("family", "")
    assert published.get("depth") in (None, model.depth)
    option = published.get("shortcut_option")
    assert option in (None, model.shortcut) or model.shortcut == "none"
    assert published.get("activation") in (None, model.activation)
    assert published.get("classes") in (None, model.num_classes)
    if "bottleneck_width" in published:
        assert model.cardinality == f"{published['cardinality']}x{published['bottleneck_width']}d"
        assert model.stride_in == "3x3"
    if "downsample_in" in published:
        assert published["downsample_in"].startswith(model.stride_in)
    if family.startswith("resnet_cifar_"):
        assert model.block == family.removeprefix("resnet_cifar_")
    if "lambda" in published:
        assert model.scales == [published["lambda"], published["f_scale"]]
    if "b_g" in published:
        asked = published["b_g"]
        assert model.gate_bias in (asked if isinstance(asked, list) else [asked])
    kinds = {"exclusive_gate": "exclusive_gate", "shortcut_only_gate": "shortcut_gate"}
    if published.get("shortcut") in kinds:
        assert model.shortcut == kinds[published["shortcut"]]


@pytest.mark.parametrize("experiments", WHOLE)
def test_no_row_of_a_paper_is_left_out(experiments):
    table = WHOLE[experiments]
    refs = [row.paper.ref for experiment in experiments for row in plan(experiment).rows]
    ours = dict.fromkeys(ref for ref in refs if ref and ref.startswith(table))
    assert list(ours) == [ref for ref in PUBLISHED if ref.startswith(table)]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_what_a_paper_claims_is_what_it_printed(experiment):
    """A claim written the wrong way round would be the program's mistake, not the paper's."""
    made = plan(experiment)
    printed = {row.name: row.paper for row in made.rows}
    for claim in made.claims:
        assert claim.where or not made.paper.cite
        if claim.measure not in ("test", "top5") or claim.equal:
            continue
        for names in pairs(claim, [row.name for row in made.rows if not row.is_cited]):
            higher, lower = (
                90.0 if paper.fail else paper.top5 if claim.measure == "top5" else paper.error
                for paper in map(printed.get, names)
            )
            if higher is not None and lower is not None:
                assert higher > lower, (claim.text, names)


def test_every_experiment_of_a_paper_states_what_it_concludes():
    assert [name for name in EXPERIMENTS if not plan(name).claims] == []


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
    networks = check_networks(plan(experiment))
    assert networks.right, networks_text(networks)


def test_a_wrong_network_does_not_verify():
    networks = check_networks(plan("cifar_depth", "model.width=17", "row=ResNet-20"))
    assert not networks.right
    assert "differs: params, exact params, exact multiply-adds" in networks_text(networks)


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


def test_the_tables_of_a_paper_share_their_runs():
    """[He16] Table 4 are the networks of Table 3 and of the first paper, and one with batch 64."""
    runs = {name: {run.digest for run in plan(name).runs} for name in EXPERIMENTS}
    best = runs["preact_best"] - runs["preact_depth"] - runs["cifar_depth"]
    assert len(best) == 5 + 4  # batch 64; four more seeds of ResNet-1202
    assert len(runs["preact_order"] & runs["preact_depth"]) == 4 * 5
    assert len(runs["preact_order"] & runs["preact_shortcuts"]) == 5
    assert runs["resnext_sota"] < runs["resnext_complexity"]
    assert len(runs["resnext_complexity"] & runs["resnext_cardinality"]) == 2
    assert len(runs["resnext_residual"] & runs["resnext_cardinality"]) == 2
    assert len(runs["resnext_width"] & runs["resnext_cifar"]) == 2 * 10


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
def test_the_recipe_of_paper_3_on_cifar_is_section_5_3(name):
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
