"""Plans: which runs there are, and their ids."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import changed
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from resnet_repro.errors import UserError
from resnet_repro.plan import Run
from resnet_repro.plan.expand import make_plan
from resnet_repro.records.runs import recorded_seeds, run_folder
from resnet_repro.settings.groups import CONF
from resnet_repro.settings.recipe import WarmupConfig
from resnet_repro.settings.schema import Schema


def plan(experiment, *overrides):
    ConfigStore.instance().store(name="schema", node=Schema)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        shipped = compose("config", [f"experiment={experiment}"])
        config = compose("config", [f"experiment={experiment}", *overrides])
    return make_plan(config, shipped, overrides)


def test_rows_times_seeds_in_table_order():
    runs = plan("cifar_depth").runs
    assert [(run.row, run.seed) for run in runs] == [
        *((f"ResNet-{depth}", 0) for depth in (20, 32, 44, 56)),
        *(("ResNet-110", seed) for seed in range(5)),
        ("ResNet-1202", 0),
    ]
    assert len({run.id for run in runs}) == len(runs)


def test_row_and_seeds_select():
    few = plan("cifar_depth", "row=[ResNet-56,ResNet-20]", "seeds=[3,4]")
    assert [(r.row, r.seed) for r in few.runs] == [
        ("ResNet-20", 3), ("ResNet-20", 4), ("ResNet-56", 3), ("ResNet-56", 4)
    ]  # fmt: skip
    assert len(few.rows) == 12  # the table stays whole


def test_an_ensembles_members_are_the_experiments_whichever_seeds_are_asked_for():
    six = [("ResNet-34 B", 0), ("ResNet-34 C", 0), ("ResNet-50", 0), ("ResNet-101", 0),
           ("ResNet-152", 0), ("ResNet-152", 1)]  # fmt: skip
    for words in ((), ("seeds=[0]",), ("seeds=[2,3]", "row=ResNet ensemble")):
        (ensemble,) = plan("imagenet_ensemble", *words).ensembles
        assert [(run.row, run.seed) for run in ensemble.needs] == six


def test_an_id_is_the_same_on_every_machine_and_in_every_version():
    """Recorded once. A change here makes every finished run of every user unfinished."""
    ids = {run.row: run.id for run in plan("cifar_depth").runs if run.seed == 0}
    assert ids["ResNet-20"] == "ResNet-20-seed0-261958b2"
    assert ids["ResNet-110"] == "ResNet-110-seed0-43bf0e0d"


def test_the_id_covers_what_the_weights_depend_on_and_nothing_else(config):
    run = Run("ResNet-8", config)
    same = [
        changed(config, data={"root": "/elsewhere", "download": False}),
        changed(config, compute={"device": "cuda", "threads": 7, "log_every": 3}),
        changed(config, evaluation={"every": 1}),
        changed(config, recipe={"departures": ["of the paper"]}),
    ]
    assert {Run("ResNet-8", each).id for each in same} == {run.id}
    other = [
        changed(config, model={"depth": 14}),
        changed(config, data={"num_validation": 10}),
        changed(config, recipe={"precision": "bf16"}),
        changed(config, recipe={"bn_batch": None}),
        changed(config, recipe={"warmup": WarmupConfig(lr=0.01, iterations=3)}),
        replace(config, seed=1),
    ]
    assert len({Run("ResNet-8", each).id for each in other} | {run.id}) == len(other) + 1


def test_the_command_line_wins_over_a_row():
    changed_plan = plan("cifar_depth", "row=ResNet-110", "recipe.warmup.lr=null", "recipe.lr=0.05")
    config = changed_plan.runs[0].config
    assert config.recipe.warmup.lr is None
    assert config.recipe.lr == 0.05
    rows = {row.name: row.deviations for row in changed_plan.rows}
    assert rows["ResNet-20"] == (("recipe.lr", 0.05, 0.1),)
    assert ("recipe.warmup.lr", None, 0.01) in rows["ResNet-110"]


def test_a_change_back_to_the_default_is_still_a_deviation():
    (row,) = (r for r in plan("cifar_depth", "recipe.bn_batch=null").rows if r.name == "ResNet-20")
    assert row.deviations == (("recipe.bn_batch", None, 64),)


def test_changed_settings_get_a_folder_of_their_own():
    shipped, short = plan("cifar_depth"), plan("cifar_depth", "recipe.iterations=10")
    assert shipped.folder == Path("results/cifar_depth")
    assert short.folder.parent == shipped.folder
    one_row = plan("cifar_depth", "recipe.iterations=10", "row=ResNet-20")
    assert one_row.folder == short.folder
    assert plan("cifar_depth", "compute.threads=1", "seeds=[7]").folder == shipped.folder


def test_other_seeds_on_disk_are_found(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    (row,) = (row for row in made.rows if row.name == "ResNet-20")
    for seed in (0, 12):
        (tmp_path / "runs" / row.run(seed).id).mkdir(parents=True)
    (tmp_path / "runs" / "ResNet-20-seed5-00000000").mkdir()  # of other settings
    assert recorded_seeds(row, tmp_path) == [0, 12]


@pytest.mark.parametrize("age", [0, 3600])
def test_a_folder_that_another_process_makes_is_found(tmp_path, age):
    """Also in the same tick of the clock, which leaves the time of change as it is."""
    runs = tmp_path / "runs"
    runs.mkdir()
    (run,) = plan("cifar_depth", f"results={tmp_path}", "row=ResNet-20").runs
    made = plan("cifar_depth", f"results={tmp_path}")
    then = time.time() - age
    os.utime(runs, (then, then))
    assert run_folder(run, made.results) == runs / run.id
    theirs = runs / f"another-row-seed0-{run.digest}"
    theirs.mkdir()
    if not age:
        os.utime(runs, (then, then))
    assert run_folder(run, made.results) == theirs


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("row=ResNet-21", r"cifar_depth has no row ResNet-21: did you mean ResNet-20"),
        ("row=FitNet", "is cited, not run"),
        ("model.depth=21", "model.depth=21 is not 6n\\+2; the nearest are 20 and 26"),
        ("model.shortcut=D", "model.shortcut=D: it can be none, A, B, C"),
        ("recipe.lr=-1", "recipe.lr=-1.0: more than 0"),
        ("recipe.batch_size=100", "no multiple of recipe.bn_batch=64"),
        ("recipe.lr_drops=[5,3]", "growing iterations"),
        ("recipe.precision=fp8", "fp32, tf32, bf16"),
        ("recipe.warmup.lr=0.1", "give one of the two"),
        ("recipe.warmup={lr:0.1,until_train_error:0.8}", "in percent, 1 to 100"),
        ("recipe.lr_drop_factor=-1", "above 0, at most 1"),
        ("model.stride_in=3x3", "only bottleneck networks"),
        ("model.num_classes=5", "follows data.num_classes=10"),
        ("compute.device=xpu", "it can be auto, cpu"),
        ("seeds=[1,1]", "different whole numbers"),
        ("seeds=[-1]", "different whole numbers"),
        ("seeds=[]", "different whole numbers"),
        ("row=[]", "name one of ResNet-20"),
    ],
)
def test_wrong_values_are_named(override, message):
    with pytest.raises(UserError, match=message):
        plan("cifar_depth", override)
