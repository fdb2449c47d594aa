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
# Where an experiment stands for a whole table: every row of it must be there.
WHOLE = {"cifar_depth": "p1.t6.", "cifar_plain": "p1.f6.plain"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_printed_number_is_the_papers(experiment):
    for row in plan(experiment).rows:
        if row.paper.ref is None:
            assert row.paper.error is None, f"{row.name} has a number without a source"
            continue
        published = PUBLISHED[row.paper.ref]
        values = published["values"]
        assert row.paper.error == values.get("error")
        assert row.paper.mean == values.get("error_mean")
        assert row.paper.std == values.get("error_std")
        assert row.paper.error_above == values.get("error_lower_bound")
        assert row.paper.num_runs == values.get("runs", 1)
        if "layers" in values:
            assert row.paper.layers == values["layers"]
            millions = values["params_millions"]
            assert row.paper.params == (millions and pytest.approx(millions * 1e6))
        assert (row.config is None) == (published["origin"] != "ours")
        if row.exact:
            counts = published["expect_computed"]
            assert row.exact.params == counts["params"]
            assert row.exact.multiply_adds == counts["macs"]
            assert row.config.model.depth == published["model"]["depth"]


@pytest.mark.parametrize("experiment", WHOLE)
def test_no_row_of_a_paper_is_left_out(experiment):
    ours = [row.paper.ref for row in plan(experiment).rows]
    assert ours == [ref for ref in PUBLISHED if ref.startswith(WHOLE[experiment])]


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
