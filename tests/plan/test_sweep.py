"""Sweeps that words, files and experiments ask for in ways that do not go together."""

import pytest

from tests.support.runs import SMALL

FILE = """\
experiment: quickstart
rows: [ResNet-8]
vary: {recipe.lr: [0.05, 1.0], recipe.bn_batch: [null, 8]}
baseline: [1, null]
claims:
  - text: x
    falling: [ResNet-8 recipe.lr=1 recipe.bn_batch=8, ResNet-8 recipe.lr=0.05 recipe.bn_batch=8]
"""
LR = "recipe.lr=0.1,0.2"


@pytest.fixture
def file(tmp_path):
    """Write a file of the folder of settings `mine`."""

    def write(name: str, text: str) -> None:
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["baseline=0.1"], "baseline=0.1: no setting has several values"),
        (["sweep.zip=true"], "sweep.zip=true: no setting has several values"),
        (["recipe.warmup={lr:0.1,iterations:2},{lr:0.2,iterations:2}", "recipe.warmup.lr=0.3"],
         "recipe.warmup.lr=0.3 is typed, and recipe.warmup.lr is swept"),
        (["sweep.grid=['recipe.lr=0.1,0.2']", "recipe.momentum=0.8,0.9"], "leave out sweep.grid"),
        (["sweep.vary.recipe.lr=[0.1,0.2]"], "type the setting itself"),
        ([LR, "row=ResNet-8 recipe.lr=0.15"], "did you mean ResNet-8 recipe.lr=0.1?"),
        ([LR, "baseline=0.3"], "none of the values of the sweep: recipe.lr=0.1; recipe.lr=0.2"),
        (["evaluation.batch_size=10,20"], "ResNet-8 evaluation.batch_size=10 and"),
    ],
)  # fmt: skip
def test_words_that_do_not_go_together_are_refused(run_cli, words, message):
    outcome = run_cli("status", "experiment=quickstart", "row=ResNet-8", *words)
    assert outcome.code == 1
    assert message in outcome.err
    assert outcome.err.count("\n") <= 2


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (FILE, [LR], "sweep=mine has values of its own, and recipe.lr=0.1,0.2 is typed too"),
        (FILE, ["sweep.zip=true"], "sweep=mine has values of its own"),
        (FILE, ["recipe.lr=0.3"], "recipe.lr=0.3 is typed, and recipe.lr is swept"),
        (FILE, ["recipe.bn_batch=null"], "recipe.bn_batch=null is typed"),
        ("experiment: quickstart\n", [], "sweep=mine: no setting has several values"),
        ("vary: {recipe.lr: [1, 2]}\n", [], "sweep=mine names no experiment"),
        ("experiment: quickstart\nvary: {compute.threads: [1, 2]}\n", [], "`status` takes one"),
        ("experiment: quickstart\nvary: {recipe.lr: []}\n", [], "there are no values"),
        ("experiment: quickstart\nvary: {recipe.lr: [1, -1]}\n", [], "recipe.lr=-1"),
    ],
)
def test_a_file_that_asks_for_nothing_that_can_be_run_is_refused(
    run_cli, file, text, words, message
):
    file("sweep/mine.yaml", text)
    outcome = run_cli("status", "--config-dir", "mine", "sweep=mine", *words)
    assert outcome.code == 1
    assert message in outcome.err
    assert outcome.err.count("\n") <= 2


def test_a_file_may_hold_every_kind_of_value_and_its_table_is_made_again(run_cli, file, tmp_path):
    file("sweep/mine.yaml", FILE)
    words = [word for word in SMALL if not word.startswith(("experiment=", "row="))]
    outcome = run_cli("table", "--config-dir", "mine", "sweep=mine", *words)
    assert outcome.code == 0, outcome.err
    (line,) = (each for each in outcome.out.splitlines() if "| baseline  " in each)
    assert line.startswith("| ResNet-8 |         1 | null ")


def test_a_sweep_in_an_experiment_is_refused_and_the_others_are_listed(run_cli, file):
    file("experiment/swept.yaml", "# @package _global_\n"
         "defaults: [override /model: cifar_resnet]\n"
         "rows: [{name: R8, set: {model.depth: 8}}]\n"
         "sweep: {vary: {recipe.lr: [0.1, 0.2]}}\n")  # fmt: skip
    outcome = run_cli("status", "--config-dir", "mine", "experiment=swept")
    assert outcome.code == 1
    assert "put it in sweep/NAME.yaml and type sweep=NAME" in outcome.err


def test_a_table_that_several_commands_extended_is_made_again_from_its_records(run_cli, tmp_path):
    """Each command has its own values and row; the last ones are what is recorded."""
    for words in (["recipe.bn_batch=null,8"], ["recipe.bn_batch=4,null", "row=plain-8"]):
        outcome = run_cli(*SMALL, "sweep.title=Groups of 4_8", *words)
        assert outcome.code == 0, outcome.err
    (folder,) = (tmp_path / "results/quickstart").iterdir()
    text = (folder / "table.md").read_text()
    assert text.startswith("**Groups of 4_8**")
    lines = [line for line in text.splitlines() if line.startswith(("| plain-8 ", "| ResNet-8 "))]
    assert [line.split("|")[2].split()[0] for line in lines] == ["4", "null", "8"] * 2
    again = run_cli("verify", "results")
    assert f"{folder.relative_to(tmp_path)}: matches its records" in again.out

    page = run_cli("report")
    assert page.code == 0, page.err
    html = (tmp_path / "results/report.html").read_text()
    assert "recipe.bn_batch=4,null,8" in html
    assert "sweep.grid" not in html
