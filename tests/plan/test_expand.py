"""Which runs a plan has, which of them are chosen, and what was changed."""

from pathlib import Path

from tests.support.plans import plan


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


def test_the_command_line_wins_over_a_row():
    changed_plan = plan("cifar_depth", "row=ResNet-110", "recipe.warmup.lr=null", "recipe.lr=0.05")
    config = changed_plan.runs[0].config
    assert config.recipe.warmup.lr is None
    assert config.recipe.lr == 0.05
    rows = {row.name: row.changes for row in changed_plan.rows}
    assert rows["ResNet-20"] == (("recipe.lr", 0.05, 0.1),)
    assert ("recipe.warmup.lr", None, 0.01) in rows["ResNet-110"]


def test_a_change_back_to_the_default_is_still_a_deviation():
    (row,) = (r for r in plan("cifar_depth", "recipe.bn_batch=null").rows if r.name == "ResNet-20")
    assert row.changes == (("recipe.bn_batch", None, 64),)


def test_changed_settings_get_a_folder_of_their_own():
    shipped, short = plan("cifar_depth"), plan("cifar_depth", "recipe.iterations=10")
    assert shipped.folder == Path("results/cifar_depth")
    assert short.folder.parent == shipped.folder
    one_row = plan("cifar_depth", "recipe.iterations=10", "row=ResNet-20")
    assert one_row.folder == short.folder
    assert plan("cifar_depth", "compute.threads=1", "seeds=[7]").folder == shipped.folder
