"""Words of a command line that give several values, as hasty users type them."""

import os
import re
import shlex

import pytest

from tests.support.runs import SMALL

QUICK = ("experiment=quickstart", "row=ResNet-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe.lr=0.1,", "0.2"], "no spaces around the commas: type recipe.lr=0.1,0.2"),
        (["recipe.lr=1", ",2,", "3"], "no spaces around the commas: type recipe.lr=1,2,3"),
        (["recipe.lr=0.1\uff0c0.2"], "Type recipe.lr=0.1,0.2"),
        (["recipe.lr=0.1\u30010.2"], "Type recipe.lr=0.1,0.2"),
        (["recipe.lr=,"], "recipe.lr=, has no value"),
        (["recipe.lr=[0.1,0.2]"], "is not a number; several are separated by commas alone: 1,2"),
        (["recipe.lr=0.1;0.2"], "several are separated by commas alone"),
        (["recipe.lr=range(a,b)"], "several are separated by commas alone"),
        (["recipe.lr=0.1,abc"], "ResNet-8 recipe.lr=abc: recipe.lr: 'abc' is not a number"),
        (["recipe.lr=0.1,-1"], "ResNet-8 recipe.lr=-1"),
        (["model=cifar_resnet,imagenet_resnet"], "ResNet-8 model=imagenet_resnet: model.depth=8"),
        (["recipe=quickstart,cifar_short", "debug=smoke"], "debug=smoke changes settings"),
        (["seeds=0,1"], "type 'seeds=[0,1]', in quotes"),
        (["format=md,json"], "format takes one value; only settings of model, data, recipe"),
        (["cluster.gpus=1,2"], "cluster.gpus takes one value"),
        (["recpie.lr=1,2"], "there is no setting recpie.lr: did you mean recipe?"),
        (["recipe.foo=1,2"], "there is no setting recipe.foo; available: iterations"),
        (["sweep.foo=1"], "grid, zip, baseline, claims\n"),
    ],
)  # fmt: skip
def test_a_slip_is_answered_with_what_to_type(run_cli, words, message):
    outcome = run_cli("status", *QUICK, *words)
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err
    assert outcome.err.count("\n") <= 2


def test_a_plan_names_the_value_of_each_run(run_cli):
    outcome = run_cli("plan", *QUICK, "recipe.lr_drops=[250],[400]")
    assert outcome.code == 0, outcome.err
    for value in ("[250]", "[400]"):
        assert re.search(rf"\| ResNet-8-seed0-\w+ \| ResNet-8 recipe.lr_drops={re.escape(value)} ",
                         outcome.out)  # fmt: skip


def test_lists_and_groups_of_settings_are_values_too(run_cli):
    words = [word for word in SMALL if not word.startswith("recipe.lr_drops")]
    for value in ("recipe.lr_drops=[2],[4]",
                  "recipe.warmup={lr:0.01,iterations:2},{lr:0.02,iterations:2}"):  # fmt: skip
        outcome = run_cli("table", *words, "recipe.lr_drops=[]", value)
        assert outcome.code == 0, outcome.err
        assert len(re.findall(r"^\| ResNet-8 ", outcome.out, re.MULTILINE)) == 2


def test_what_is_typed_inside_of_a_swept_group_is_a_change_like_others(run_cli, tmp_path):
    """A shortened schedule is named in the table and its folder, and has no paper's number."""
    outcome = run_cli(*SMALL, "recipe.bn_batch=8", "recipe=quickstart,cifar_short")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("after 6 of ") == 2
    (folder,) = (tmp_path / "results/quickstart").iterdir()
    assert folder.name.startswith("sweep-recipe,") and "recipe.batch_size=16" in folder.name


def test_the_experiments_own_test_is_the_default_among_several(run_cli):
    """Also where a setting is typed that changes no test."""
    words = ("experiment=imagenet_shortcuts", "row=ResNet-34 B", "evaluation=one_crop,ten_crop")
    outcome = run_cli("table", *words, "evaluation.batch_size=64")
    assert outcome.code == 0, outcome.err
    assert re.findall(r"(\w+) \(default\)", outcome.out) == ["ten_crop"]


def test_depths_are_checked_against_the_paper_where_they_are_its(run_cli):
    outcome = run_cli("verify", "experiment=cifar_depth", "row=ResNet-20", "model.depth=20,32")
    assert outcome.code == 0, outcome.out
    assert "nothing to compare" in outcome.out
    assert outcome.out.count("agrees") == 1


def test_the_commands_that_submit_prints_find_the_runs(run_cli, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "squeue", "scontrol"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n[ ${0##*/} != sbatch ] || echo 7\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    submitted = run_cli("submit", *SMALL, "recipe.bn_batch=null,8", "seeds=[0,1]")
    assert submitted.code == 0, submitted.err
    command = re.search(r"`resnet-repro (status .*?)`", submitted.out)[1]
    shown = run_cli(*shlex.split(command))
    assert shown.code == 0, shown.err
    runs = set(re.findall(r"ResNet-8-seed\d-\w{8}", submitted.out))
    assert len(runs) == 4
    assert set(re.findall(r"ResNet-8-seed\d-\w{8}", shown.out)) == runs
