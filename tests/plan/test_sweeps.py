"""Sweeps as plans: rows times values, the ids of their runs, and their folders."""

import pytest

from resnet_repro.errors import UserError
from resnet_repro.plan import with_needs
from resnet_repro.settings.sweep import SweepConfig, points
from tests.support.plans import plan

LR = "sweep.grid=['recipe.lr=0.05,0.1,0.2']"


def values(sweep):
    return [tuple(value for _, value in point) for point in points(sweep)]


@pytest.mark.parametrize(
    ("grid", "found"),
    [
        (["recipe.lr=0.05,0.1"], [(0.05,), (0.1,)]),
        (["recipe.lr=range(0.1,0.5,0.1)"], [(0.1,), (0.2,), (0.3,), (0.4,)]),
        (["model.shortcut=choice(A,B)"], [("A",), ("B",)]),
        (["recipe.bn_batch=null,32"], [(None,), (32,)]),
        (["recipe.flip=true,false"], [(True,), (False,)]),
        (["recipe.lr_drops=[1,2],[3]"], [([1, 2],), ([3],)]),
        (["recipe.lr=0.05,0.1", "model.shortcut=A,B"],
         [(0.05, "A"), (0.05, "B"), (0.1, "A"), (0.1, "B")]),
    ],
)  # fmt: skip
def test_values_are_those_of_hydras_notation(grid, found):
    assert values(SweepConfig(grid=grid)) == found


def test_a_file_says_the_same_by_lists_and_pairs_are_zipped():
    vary = {"recipe.lr": [0.05, 0.1], "model.shortcut": "choice(A,B)"}
    assert len(values(SweepConfig(vary=vary))) == 4
    assert values(SweepConfig(vary=vary, zip=True)) == [(0.05, "A"), (0.1, "B")]
    with pytest.raises(UserError, match=r"recipe\.lr 3, model\.shortcut 2"):
        points(SweepConfig(vary={**vary, "recipe.lr": [1, 2, 3]}, zip=True))


def test_the_shipped_value_shares_its_run_with_the_papers_table():
    made = plan("cifar_depth", "row=ResNet-20", "seeds=[0,1]", LR)
    assert [run.row for run in made.runs] == [
        f"ResNet-20 recipe.lr={lr:g}" for lr in (0.05, 0.1, 0.2) for _ in range(2)
    ]
    paper = {run.id for run in plan("cifar_depth", "row=ResNet-20", "seeds=[0,1]").runs}
    alone = {run.id for run in plan("cifar_depth", "row=ResNet-20", "recipe.lr=0.2",
                                    "seeds=[0,1]").runs}  # fmt: skip
    by_value = {}
    for row in made.rows:
        if row.of == "ResNet-20":
            by_value[dict(row.point)["recipe.lr"]] = {row.run(seed).id for seed in (0, 1)}
    assert by_value[0.1] == paper and by_value[0.2] == alone
    shipped = next(row for row in made.rows if row.is_at_shipped_point and row.of == "ResNet-20")
    assert shipped.paper.error == 8.75
    others = [row for row in made.rows if row.of == "ResNet-20" and row is not shipped]
    assert len(others) == 2 and all(row.paper.error is None for row in others)


def test_runs_that_differ_in_the_test_have_results_of_their_own():
    made = plan(
        "imagenet_depth", "row=ResNet-50", "sweep.grid=['evaluation.protocol=one_crop,ten_crop']"
    )
    first, second = made.runs
    assert first.digest == second.digest and first.id != second.id


def test_an_ensemble_is_tested_as_its_case_says():
    made = plan("imagenet_ensemble", "sweep.grid=['evaluation.flip=false,true']")
    tests = {dict(row.point)["evaluation.flip"]: row.ensemble.evaluation for row in made.rows
             if row.ensemble}  # fmt: skip
    assert [tests[flip].flip for flip in (False, True)] == [False, True]
    assert tests[False].key != tests[True].key


def test_an_ensemble_that_nobody_asks_for_stops_no_sweep():
    """The ResNet-34 among its members has no bottlenecks."""
    made = plan("imagenet_ensemble", "row=ResNet-50", "sweep.grid=['model.stride_in=1x1,3x3']")
    assert {row.name for row in made.selected_rows} == {
        f"ResNet-50 model.stride_in={stride}" for stride in ("1x1", "3x3")
    }
    with pytest.raises(UserError, match="only bottleneck networks"):
        plan("imagenet_ensemble", "sweep.grid=['model.stride_in=1x1,3x3']")


def test_a_typed_setting_of_tests_is_a_change_where_another_one_is_swept():
    words = ("row=ResNet-50 1x64d", "sweep.grid=['evaluation.flip=false,true']")
    size, batch = ["evaluation.sizes=[224]"], ["evaluation.batch_size=8"]  # this is no other test
    for more, found in (([], [0, 0]), (size, [1, 1]), (batch, [0, 0])):
        rows = plan("resnext_cardinality", *words, *more).selected_rows
        assert [len(row.fixed_changes) for row in rows] == found
        assert sum(row.is_at_shipped_point for row in rows) == (more != size)


def test_folders_have_readable_names():
    folder = plan("cifar_depth", LR).folder
    assert folder.as_posix() == "results/cifar_depth/sweep-recipe.lr"
    both = plan("cifar_depth", LR, "recipe.iterations=100", "recipe.lr_drops=[50,75]").folder
    assert both.name == "sweep-recipe.lr,recipe.iterations=100,recipe.lr_drops=50,75"
    one = plan("cifar_depth", "recipe.lr=0.05")
    assert one.folder.name == "changed-recipe.lr=0.05"
    long = plan("cifar_depth", *(f"recipe.{key}" for key in (
        "iterations=100", "batch_size=64", "bn_batch=32", "momentum=0.5", "nesterov=true",
        "weight_decay=0.1"))).folder.name  # fmt: skip
    assert len(long) < 120 and long.startswith("changed-recipe.batch_size=64,")
    assert plan("cifar_depth", "recipe.lr=0.1").folder.name == "cifar_depth"  # the shipped value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep.grid=['recipe.lr=0.1,-1']"], r"ResNet-20 recipe\.lr=-1: .*must be above 0"),
        (
            ["sweep.grid=['recipe.lr=0.1,fast']"],
            r"recipe\.lr=fast: recipe\.lr: 'fast' is not a num",
        ),
        (["sweep.grid=['recipe.lrr=0.1,0.2']"], "no setting recipe.lrr: did you mean lr"),
        (["sweep.grid=['recipe.lr=range(2,1)']"], r"range\(2,1\) has no values"),
        (["sweep.grid=['recipe.lr=0.1,0.10']"], r"recipe\.lr=0\.1 is listed twice"),
        (["sweep.grid=['recipe.lr=0.1,0.2','compute.threads=1,2']"], "one of them at a time"),
        ([LR, "baseline=0.3"], r"baseline=0\.3 is none of the values"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_anything_runs(words, message):
    with pytest.raises(UserError, match=message):
        plan("cifar_depth", "row=ResNet-20", *words)


def test_swept_settings_are_those_of_all_steps_that_share_them():
    """But for a section of a step's own."""
    grid = "sweep.grid=['model.depth=choice(50,101)','recipe.lr=choice(0.001,0.002)']"
    made = plan("coco_detection", "row=ResNet-101", grid)
    assert len(made.selected) == 4
    for row in made.selected_rows:
        run = row.run(0)
        steps = {each.row.split()[-1]: each.config for each in with_needs(run.needs)}
        assert [each.model.depth for each in steps.values()] == [run.config.model.depth] * 2
        assert {each.recipe.lr for each in steps.values()} == {0.1, 0.001}
    assert len({run.digest for run in made.runs}) == 2 * 2 + 4
