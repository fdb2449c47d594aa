"""Every experiment file against the collection of published numbers."""

import json
import re

import pytest
from omegaconf import OmegaConf

from resnet_repro.cost.check_counts import check_networks, networks_text
from resnet_repro.judge.claims import pairs
from tests.support.papers import EXPERIMENTS, plan
from tests.support.paths import REFERENCE

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
    ("imagenet_detection",): "p1.t12.",
    ("imagenet_localisation", "imagenet_localisation_regions"): "p1.t13.",
    ("imagenet_localisation_regions",): "p1.t14.",
    ("voc_detection",): "p1.t10.",
    ("voc12_detection",): "p1.t11.",
    ("coco_detection",): "p1.t8.",
    ("coco_improvements",): "p1.t9.",
    ("resnext_detection",): "p3.t8.",
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


# Names of the measures and classes of detectors in these experiments: the collection's.
MEASURES = {
    "p1.t8.": {"map50": "map_50", "map": "map_50_95"},
    "p1.t9.": {"map50": "val_map_50", "map": "val_map_50_95"},
    "p1.t10.": {"voc07": "map"},
    "p1.t11.": {"voc12": "map"},
    "p1.t12.": {"det": "val2_map"},
    "p1.t14.": {"loc_top5": "top5_loc_err_val"},
    "p3.t8.": {"map50": "ap_50", "map": "ap"},
}
# Of the test sets, whose rows are cited; Table 13 has one of two errors for each row.
TEST_SETS = {"p1.t12.": {"det": "test_map"}, "p1.t14.": {"loc_top5": "top5_loc_err_test"}}
LOCALISATION = {"loc_gt": "loc_err_gt_class", "loc_top5": "top5_loc_err_predicted_class"}
TEST_DEV = {"map50": "testdev_map_50", "map": "testdev_map_50_95"}
CLASSES = {
    "aeroplane": "aero",
    "bicycle": "bike",
    "diningtable": "table",
    "motorbike": "mbike",
    "pottedplant": "plant",
    "tvmonitor": "tv",
}
# Rows whose numbers are measured on images that are not public.
ELSEWHERE = ("p1.t11.vgg16", "p1.t11.resnet101", "p1.t9.ens")

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
        elsewhere = "top5_err_test" in values or row.paper.ref in ELSEWHERE
        assert row.paper.other_images == (elsewhere and not row.is_cited)
        out_of_reach = row.name.endswith(("+++", "(test-dev)", "(test set)"))
        assert row.is_cited == (published["origin"] != "ours" or out_of_reach)
        check_detections(row, values)
        if row.config:
            check_network(row, published["model"])
        sizes = PUBLISHED.get(SIZES.get((experiment, row.name)), {"values": {}})["values"]
        assert row.paper.multiply_adds == first(sizes, "flops_multiply_adds", "flops")
        if "params" in sizes:
            assert row.paper.params == sizes["params"]
        if row.exact:
            detector = row.config and row.config.detector.is_used
            assert detector or (row.exact.params, row.exact.multiply_adds) in COUNTS


def check_detections(row, values):
    """Every number of a table of detectors is there, by its measure and its class."""
    table = row.paper.ref[: row.paper.ref.rindex(".") + 1]
    if table == "p1.t13.":
        printed = {ours: values[theirs] for ours, theirs in LOCALISATION.items()}
        assert row.paper.values == {k: value for k, value in printed.items() if value is not None}
        return
    if table not in MEASURES:
        assert not row.paper.values and not row.paper.per_class
        return
    is_dev = row.name.endswith("(test-dev)") or row.paper.ref == "p1.t9.ens"
    names = TEST_DEV if is_dev else MEASURES[table]
    names = TEST_SETS[table] if row.name.endswith("(test set)") else names
    assert row.paper.values == {ours: values[theirs] for ours, theirs in names.items()}
    classes = {CLASSES.get(name, name): ap for name, ap in row.paper.per_class.items()}
    has_classes = "aero" in values
    assert {**classes, "map": row.paper.values.get("voc07", row.paper.values.get("voc12"))} == (
        values if has_classes else {"map": None}
    )
    assert row.paper.decimals == 1


def test_tables_7_10_and_11_have_one_mean():
    for name, measure in (("voc_detection", "voc07"), ("voc12_detection", "voc12")):
        for row in plan(name).rows[:2]:
            table_7 = PUBLISHED[f"p1.t7.{row.paper.ref.split('.')[-1]}"]["values"]
            assert row.paper.values[measure] == table_7[f"{measure}_map"]


def test_detectors_start_from_the_classifiers_of_the_papers_other_tables():
    def classifiers(name):
        runs = plan(name).runs
        return {run.digest for run in runs if not run.config.detector.is_used}

    def vgg(name):
        runs = plan(name).runs
        return {run.digest for run in runs if run.config.model.name == "vgg16"} & classifiers(name)

    deep = next(row for row in plan("imagenet_depth").rows if row.name == "ResNet-101")
    of_coco = ("coco_detection", "coco_improvements", "imagenet_detection")
    for name in ("voc_detection", "voc12_detection", *of_coco):
        assert classifiers(name) - vgg(name) == {deep.run(0).digest}
    assert classifiers("resnext_detection") < classifiers("resnext_cardinality")
    rows = plan("coco_detection", "row=[VGG-16,ResNet-101]")
    baselines = {run.digest for run in rows.runs}
    assert baselines < {run.digest for run in plan("coco_improvements").runs}


def test_the_steps_on_voc_are_those_of_the_alternation():
    """[Ren15] Sec. 3.2: which run starts from which, and what it leaves as it is."""
    runs = plan("voc_detection", "row=ResNet-101").runs
    words = [run.row.removeprefix("ResNet-101").strip() for run in runs]
    assert words == ["classification", "proposals1", "regions1", "proposals2", ""]
    needs = [[each.row.removeprefix("ResNet-101").strip() for each in run.needs] for run in runs]
    assert needs == [
        [], ["classification"], ["classification", "proposals1"], ["regions1"], ["proposals2"],
    ]  # fmt: skip
    detectors = [run.config.detector for run in runs[1:]]
    assert [each.step for each in detectors] == ["proposals", "regions"] * 2
    assert [each.frozen for each in detectors] == ["early", "early", "body", "body"]
    assert [each.batch_norm_images for each in detectors] == [50_000, 50_000, 0, 0]
    others = plan("voc_detection", "row=ResNet-101", "seeds=[0,1]").runs
    assert len(others) == 5 + 4  # they share the classifier


def test_a_smoke_test_shortens_every_step():
    for name in ("voc_detection", "coco_improvements"):
        runs = plan(name, "debug=smoke").runs
        assert {run.config.recipe.iterations for run in runs} == {4}
        assert {run.config.detector.batch_norm_images for run in runs} == {0}
    word = "steps.proposals1.recipe.iterations=7"
    runs = plan("voc_detection", "debug=smoke", word, "row=VGG-16").runs
    assert [run.config.recipe.iterations for run in runs] == [4, 7, 4, 4, 4]


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
        for names in pairs(claim, [row.name for row in made.rows if not row.is_cited]):
            higher, lower = (
                {"test": 90.0 if paper.fail else paper.error, "top5": paper.top5}.get(
                    claim.measure, paper.values.get(claim.measure)
                )
                for paper in map(printed.get, names)
            )
            if higher is None or lower is None:
                continue
            if claim.equal:
                assert abs(higher - lower) < made.paper.margin, (claim.text, names)
                continue
            assert higher > lower, (claim.text, names)
            if claim.gain:
                of, over = (
                    printed[n].values[claim.measure] for n in (claim.gain.of, claim.gain.over)
                )
                assert round(100 * abs(of / over - 1)) == claim.gain.percent


def test_every_experiment_of_a_paper_states_what_it_concludes():
    of_papers = [name for name in EXPERIMENTS if plan(name).paper.cite]
    assert [name for name in of_papers if not plan(name).claims] == []


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


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_network_is_the_papers(experiment):
    networks = check_networks(plan(experiment))
    assert networks.right, networks_text(networks)


def test_a_wrong_network_does_not_verify():
    networks = check_networks(plan("cifar_depth", "model.width=17", "row=ResNet-20"))
    assert not networks.right
    assert "differs: params, exact params, exact multiply-adds" in networks_text(networks)


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
