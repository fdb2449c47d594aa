"""Tables: our numbers next to the paper's."""

import json
from dataclasses import replace

import pytest

from resnet_repro.report.pictures.series import make_points
from resnet_repro.report.remarks import remarks
from resnet_repro.report.render import render
from resnet_repro.report.tables import build_table
from tests.support.plans import plan
from tests.support.results import SESSION, cells, result, results_of


def test_the_table_of_the_paper_with_ours_beside_it():
    made = plan("cifar_depth")
    results = results_of(made, ResNet_20=[8.9], ResNet_110=[6.7, 6.5, 6.6])
    text = render(build_table(made, results), "md")
    assert text.startswith("**[He15] Table 6. ")
    assert cells(text, "FitNet") == ["FitNet", "19", "2.50M", "8.39", "", "", "", "", ""]
    assert cells(text, "ResNet-20")[1:] == [
        "20", "0.27M", "8.75", "8.90", "+0.15",
        "undecided [-0.34, +0.64], 5 seeds would decide", "1.50", "1/1"
    ]  # fmt: skip
    assert cells(text, "ResNet-110")[1:] == [
        "110", "1.73M", "6.43 (6.61 ± 0.16)", "6.60 ± 0.10", "-0.01 (mean)",
        "matches [-0.27, +0.25]", "1.50", "3/5"
    ]  # fmt: skip
    assert cells(text, "ResNet-56")[4:] == ["-", "", "", "", "0/1"]
    assert "[1]" not in text
    assert "Momentum is torch's" in text
    assert "0.1.0 (01234567); torch 2.15.0; a CPU, 2 cores; 4 runs, 8.00 hours" in text


def test_five_seeds_of_resnet_110_read_as_in_the_paper():
    made = plan("cifar_depth")
    errors = [6.7, 6.5, 6.6, 6.8, 6.9]
    text = render(build_table(made, results_of(made, ResNet_110=errors)), "md")
    assert cells(text, "ResNet-110")[4:] == [
        "6.50 (6.70 ± 0.16)", "+0.07 (best of 5)", "matches [-0.14, +0.32]", "1.50", "5/5"
    ]  # fmt: skip


def test_a_shortened_schedule_cannot_look_like_a_result():
    made = plan("cifar_depth", "recipe.iterations=1500", "recipe.bn_batch=null")
    text = render(build_table(made, results_of(made, ResNet_20=[30.0])), "md")
    row = cells(text, "ResNet-20")
    assert "(30.00 after 1500 of 64000 iterations) [1] [2]" in row
    assert not any(cell.startswith("+") for cell in row)
    assert "(1.50)" in row  # the training error
    whole = "none, the whole share of a process: 128 images"
    assert f"[1] recipe.bn_batch = {whole} (experiment: 64)." in text
    assert "[2] recipe.iterations = 1500 (experiment: 64000)." in text
    assert "Recipe, before the changed settings: Momentum" in text
    assert "[" not in cells(text, "ResNet-32")[4]  # not run: nothing to note


def test_nor_can_one_that_fails_or_a_further_measure():
    made = plan("preact_shortcuts", "recipe.iterations=1000")
    name = "original"
    (row,) = (row for row in made.rows if row.name == name)
    text = render(build_table(made, {name: [result(row, 0, 45.0)]}), "md")
    assert "(fail after 1000 of 64000 iterations)" in text
    assert "original, seed 0: test error 45.00, above the row's limit of 20." in text
    made = plan("imagenet_depth", "recipe.iterations=1000")
    row = next(row for row in made.rows if row.config)
    counts = {"num_errors": 35000, "num_errors_top5": 20000, "num_images": 50000}
    text = render(
        build_table(made, {row.name: [result(row, evaluations={row.protocol: counts})]}), "md"
    )
    assert "(70.00 after 1000 of 600000 iterations)" in text
    assert "(40.00)" in cells(text, row.name)


def test_nor_can_a_shortened_earlier_step():
    made = plan("voc_joint", "row=ResNet-101", "steps.classification.recipe.iterations=1000")
    (row,) = made.selected_rows
    test = {row.protocol: {"voc07": 50.0, "voc12": 51.0, "num_images": 4952, "num_objects": 12032}}
    results = {row.name: [result(row, evaluations=test)]}
    text = render(build_table(made, results), "md")
    assert "(50.00 after 1000 of 600000 iterations) [1]" in text
    assert "All seeds" not in text


def test_seeds_that_share_a_step_are_named():
    made = plan("voc_joint", "seeds=[0,1]")
    (row,) = (row for row in made.rows if row.name == "ResNet-101")
    assert row.run(0).needs == row.run(1).needs
    (line,) = (line for line in remarks(made, {}, []) if line.startswith("All seeds of "))
    assert "ResNet-101" in line.split(" start from one run of the step classification")[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [("recipe.precision=bf16", "undecided"), ("recipe.bn_batch=128", "not comparable")],
)
def test_of_all_changes_another_precision_alone_leaves_a_row_comparable(change, word):
    made = plan("cifar_depth", change)
    (line,) = (
        line
        for line in build_table(made, results_of(made, ResNet_20=[8.9])).lines
        if line.name == "ResNet-20"
    )
    assert line.verdict.word == word
    assert (line.ours.difference is None) == (word == "not comparable")


def test_the_papers_spread_says_nothing_of_changed_settings():
    """One seed of a shortened schedule has no interval, and none is drawn."""
    for words, known in (((), True), (("recipe.iterations=10",), False)):
        made = plan("cifar_depth", *words)
        points = make_points(made, results_of(made, ResNet_20=[82.6]))
        (point,) = (point for point in points if point.row.name == "ResNet-20")
        assert (point.bar is not None) == known


def test_other_images_are_compared_with_nothing_and_named():
    made = plan("cifar_depth", "data.num_validation=5000", "model.width=32")
    text = render(build_table(made, results_of(made, ResNet_20=[8.0])), "md")
    assert cells(text, "ResNet-20")[2:5] == ["", "8.75", "8.00 [1] [2]"]
    assert "+" not in cells(text, "ResNet-20")[5]
    assert "top-1 error in % on CIFAR-10 held-out images" in text


def test_a_deviation_of_some_rows_names_them():
    text = render(build_table(plan("preact_best"), {}), "md")
    row = "ResNet-1001 pre-activation batch 64"
    assert f"Recipe of all rows but {row}: Momentum is torch's" in text
    assert f"Recipe of {row}: Not in the paper, as in its authors' code" in text
    assert "Recipe of ResNet-110, ResNet-1202: The warm-up ends by the training error" in text
    text = render(build_table(plan("cifar_depth"), {}), "md")
    assert "Recipe: Momentum is torch's" in text


def test_deviations_of_earlier_steps_name_the_steps():
    text = render(build_table(plan("voc_detection"), {}), "md")
    assert "Recipe of the step classification: The learning rate drops at 150,000 and" in text
    assert text.count("Momentum is torch's") == 1  # all steps have it


def test_images_are_named_by_what_they_are():
    text = render(build_table(plan("imagenet_depth"), {}), "md")
    assert "top-1 error in % on ImageNet validation images" in text


def test_what_is_to_be_said_of_the_data_stands_below_the_table_once():
    made = plan("cifar_depth")
    found = results_of(made, ResNet_20=[8.9, 8.7])
    session = {**SESSION, "about_data": ["halves of our own"]}
    found["ResNet-20"] = [replace(each, sessions=[session]) for each in found["ResNet-20"]]
    assert remarks(made, found, []).count("Data: halves of our own.") == 1


def test_failing_is_a_result():
    made = plan("cifar_depth")
    (row,) = (row for row in made.rows if row.name == "ResNet-20")
    nan = result(row, 0, None, state="diverged", reason="the loss became nan by iteration 200")
    text = render(build_table(made, {"ResNet-20": [nan]}), "md")
    assert cells(text, "ResNet-20")[4:] == ["fail [1]", "worse: 1 of 1 seed failed", "1/1"]
    assert "[1] ResNet-20, seed 0: the loss became nan by iteration 200." in text
    bounded = replace(made, rows=tuple(replace(r, fail_above=20.0) for r in made.rows))
    text = render(build_table(bounded, results_of(made, ResNet_20=[21.0, 9.0])), "md")
    assert cells(text, "ResNet-20")[4:] == [
        "9.00, 1 fail [1]", "undecided: 1 of 2 seeds failed", "1.50", "2/2"
    ]  # fmt: skip
    text = render(build_table(bounded, results_of(made, ResNet_20=[21.0, 9.0, 22.0])), "md")
    assert cells(text, "ResNet-20")[4:6] == [
        "fail, 1 of 3: 9.00 [1] [2]", "worse: 2 of 3 seeds failed"
    ]  # fmt: skip


def test_a_half_done_run_shows_how_far_it_is():
    made = plan("cifar_depth")
    (row,) = (row for row in made.rows if row.name == "ResNet-20")
    half = result(row, 0, 20.0, state="unfinished", iteration=16000, evaluations={})
    text = render(build_table(made, {"ResNet-20": [half]}), "md")
    assert cells(text, "ResNet-20")[4:] == ["25 % done", "0/1"]


def test_claims_stand_below_the_table_with_their_evidence():
    made = plan("cifar_plain")
    rows = {row.name: row for row in made.rows}
    errors = {"plain-20": [8.0, 8.2], "plain-32": [9.0, 9.1], "plain-44": [10.0, 9.9]}
    found = {
        name: [result(rows[name], seed, e, train_error=e - 7) for seed, e in enumerate(each)]
        for name, each in errors.items()
    }
    text = render(build_table(made, found), "md")
    assert (
        "- **undecided**: Deeper plain networks have the higher training error (Sec. 4.2). "
        "Training error: plain-44 - plain-32: +0.90 [+0.58, +1.22], 2 seeds; plain-32 - "
        "plain-20: +0.95 [+0.63, +1.27], 2 seeds; no number yet of plain-56."
    ) in text
    found["plain-56"] = [result(rows["plain-56"], s, 12.0 + s / 9, train_error=5) for s in (0, 1)]
    table = build_table(made, found)
    assert [claim.word for claim in table.claims] == ["holds", "holds"]
    assert "% holds: Deeper plain networks" in render(table, "tex")
    assert json.loads(render(table, "json"))["claims"][0]["word"] == "holds"


def test_a_fail_of_the_paper_is_printed_as_one(run_cli):
    outcome = run_cli("table", "experiment=preact_shortcuts")
    line = next(line for line in outcome.out.splitlines() if "dropout shortcut" in line)
    assert "| fail |" in " ".join(line.split())
