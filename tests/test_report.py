"""Tables and statistics from fixed records; nothing here trains."""

import csv
import io
import json
import logging
import math
import re
from dataclasses import replace

import pytest
from conftest import PUBLISHED, ROOT
from test_plan import plan

from resnet_repro.cost.networks import agrees
from resnet_repro.errors import UserError
from resnet_repro.judge.statistics import aggregate
from resnet_repro.records import Record, archive
from resnet_repro.records.archive import Result
from resnet_repro.records.results import collect, write_records
from resnet_repro.report.pictures.series import make_points
from resnet_repro.report.render import render
from resnet_repro.report.tables import build_table
from resnet_repro.report.write import write_report
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.text import markdown

BEST_OF_5 = PaperValues(error=6.43, statistic="best_of_5", mean=6.61, std=0.16)
SESSION = {
    "started": "2026-01-02T03:04:05+00:00",
    "resnet_repro": "0.1.0",
    "command": "resnet-repro experiment=cifar_depth",
    "commit": "0123456789abcdef",
    "dirty": False,
    "torch": "2.15.0",
    "cpu": "a CPU, 2 cores",
    "device": "cpu",
    "num_train": 50000,
}


def result(row, seed=0, test_error=8.9, **fields):
    id, last = row.run(seed).id, row.config.recipe.iterations
    values = {
        "state": "finished",
        "iteration": last,
        "train_error": 1.5,
        "reason": None,
        "seconds": 7200.0,
        "weights": f"sha256 of {id}",
        "train_curve": [(last // 64, 50.0), (last, 1.5)],
        "test_curve": [(last // 64, 55.0), (last, test_error or 90.0)],
        "sessions": [SESSION],
    }
    values["evaluations"] = {} if test_error is None else {"single_view": counts(test_error)}
    return Result(id=id, row=row.name, seed=seed, **{**values, **fields})


def counts(error, top5=None):
    found = {"num_errors": round(500 * error), "num_images": 50000}
    return found if top5 is None else {**found, "num_errors_top5": round(500 * top5)}


def error_of(result):
    return result.error("single_view")


def results_of(made, **each):
    """results_of(plan, ResNet_20=[8.9]): one result per error, seeds from 0."""
    rows = {row.name: row for row in made.rows}
    named = {name.replace("_", "-"): errors for name, errors in each.items()}
    return {
        name: [result(rows[name], seed, error) for seed, error in enumerate(errors)]
        for name, errors in named.items()
    }


def cells(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_single_run_is_compared_with_a_single_run():
    cell = aggregate([8.9], PaperValues(error=8.75))
    assert (cell.mean, cell.std, cell.value) == (8.9, None, None)
    assert cell.difference == pytest.approx(0.15)


def test_best_of_five_needs_five_and_fewer_are_compared_with_the_mean():
    five = aggregate([6.7, 6.5, 6.6, 6.8, 6.9], BEST_OF_5)
    assert (five.value, five.mean, five.compared) == (6.5, pytest.approx(6.7), "best of 5")
    assert five.std == pytest.approx(0.1581, abs=1e-4)
    assert five.difference == pytest.approx(0.07)
    three = aggregate([6.7, 6.5, 6.6], BEST_OF_5)
    assert (three.value, three.compared) == (None, "mean")
    assert three.difference == pytest.approx(6.6 - 6.61)


def test_a_sixth_seed_does_not_make_the_best_of_five_better():
    assert aggregate([6.7, 6.5, 6.6, 6.8, 6.9, 6.0], BEST_OF_5).value == 6.5


def test_median_and_mean_of_several():
    median = aggregate([5.0, 7.0, 6.0], PaperValues(error=6.5, statistic="median_of_3"))
    assert (median.value, median.difference) == (6.0, pytest.approx(-0.5))
    mean = aggregate([5.0, 7.0], PaperValues(error=6.5, statistic="mean_of_2"))
    assert (mean.value, mean.difference) == (6.0, pytest.approx(-0.5))


def test_a_run_that_failed_counts_as_the_worst():
    """In a median and a best; where it leaves no mean, nothing is compared."""
    median = PaperValues(error=6.5, statistic="median_of_5")
    two = aggregate([5.0, math.inf, 7.0, 6.0, math.inf], median)
    assert (two.value, two.mean, two.num_runs) == (7.0, 6.0, 3)
    assert two.difference == pytest.approx(0.5)
    three = aggregate([5.0, math.inf, math.inf, 6.0, math.inf], median)
    assert (three.value, three.difference) == (None, None)
    early = aggregate([math.inf, 5.0, 7.0, 6.0, 6.0, 6.0], median)  # the first five count
    assert early.value == 6.0
    assert aggregate([6.7, 6.5, math.inf, 6.8, 6.9], BEST_OF_5).value == 6.5
    mean = aggregate([5.0, math.inf], PaperValues(error=6.5, statistic="mean_of_2"))
    assert (mean.value, mean.difference) == (None, None)


def test_a_best_without_its_mean_is_compared_with_nothing_from_fewer_runs():
    assert aggregate([7.0], PaperValues(error=6.5, statistic="best_of_5")).difference is None


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
    whole = "none (a process's share whole: 128 images)"
    assert f"[1] recipe.bn_batch = {whole}, in the experiment 64." in text
    assert "[2] recipe.iterations = 1500, in the experiment 64000." in text
    assert "The recipe, before the changes noted here: Momentum" in text
    assert "[" not in cells(text, "ResNet-32")[4]  # not run: nothing to note


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
    assert "top-1 error on CIFAR-10, held-out images" in text


def test_a_committed_result_stays_until_the_run_here_has_ended(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    write_records(made, results_of(made, ResNet_20=[8.9]))
    record = Record(tmp_path / "runs" / made.runs[0].id)
    record.folder.mkdir(parents=True)
    record.append("test", 1000, protocol="single_view", num_errors=4000, num_images=10000)
    assert error_of(collect(made)["ResNet-20"][0]) == 8.9
    record.add_evaluation("single_view", num_errors=850, num_images=10000)
    record.append("finished", 64000, seconds=1.0, weights="cd")
    assert error_of(collect(made)["ResNet-20"][0]) == 8.5


def test_tex_and_markdown_escape_what_they_must():
    made = plan("cifar_depth")
    rows = tuple(replace(row, name=r"50% & $x_1$ | a\b") for row in made.rows[:1])
    table = build_table(replace(made, rows=rows, claims=()), {})
    assert r"50\% \& \$x\_1\$ $|$ a\textbackslash{}b & " in render(table, "tex")
    assert r"50% & $x_1$ \| a\b" in render(table, "md")


def test_a_departure_of_some_rows_names_them():
    text = render(build_table(plan("preact_best"), {}), "md")
    row = "ResNet-1001 pre-activation batch 64"
    assert f"The recipe of all but {row}: Momentum is torch's" in text
    assert f"The recipe of {row}: Not in the paper, as its authors' code" in text
    text = render(build_table(plan("cifar_depth"), {}), "md")
    assert "The recipe: Momentum is torch's" in text


def test_images_are_named_by_what_they_are():
    text = render(build_table(plan("imagenet_depth"), {}), "md")
    assert "top-1 error on ImageNet, validation images" in text


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
        "9.00, 1 fail", "undecided: 1 of 2 seeds failed", "1.50", "2/2"
    ]  # fmt: skip


def test_a_half_done_run_shows_how_far_it_is():
    made = plan("cifar_depth")
    (row,) = (row for row in made.rows if row.name == "ResNet-20")
    half = result(row, 0, 20.0, state="unfinished", iteration=16000, evaluations={})
    text = render(build_table(made, {"ResNet-20": [half]}), "md")
    assert cells(text, "ResNet-20")[4:] == ["25 % done", "0/1"]


def test_csv_json_and_tex_hold_the_same_numbers():
    made = plan("cifar_depth")
    table = build_table(made, results_of(made, ResNet_20=[8.9], ResNet_110=[6.7, 6.5, 6.6]))
    rows = {row["network"]: row for row in csv.DictReader(io.StringIO(render(table, "csv")))}
    assert float(rows["ResNet-20"]["our_mean"]) == 8.9
    assert float(rows["ResNet-110"]["paper_std"]) == 0.16
    lines = {line["name"]: line for line in json.loads(render(table, "json"))["lines"]}
    assert lines["ResNet-110"]["ours"]["num_runs"] == 3
    tex = render(table, "tex")
    assert r"undecided {[}-0.34, +0.64{]}" in tex
    assert r"ResNet-110 & 110 & 1.73M & 6.43 (6.61 $\pm$ 0.16) & 6.60 $\pm$ 0.10" in tex
    assert tex.count(r"\\") == len(table.lines) + 1


def test_records_alone_give_the_same_files_again(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    results = results_of(made, ResNet_20=[8.9], ResNet_110=[6.7, 6.5])
    made.folder.mkdir(parents=True)
    write_records(made, results)
    write_report(made)
    files = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    pictures = {
        f"{name}.{kind}"
        for name in ("curves", "differences", "depth", "cost")
        for kind in ("svg", "png")
    }
    tables = {"table.md", "table.csv", "table.json", "table.tex", "records.json"}
    assert files.keys() == tables | pictures
    write_report(made)
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == files
    assert error_of(collect(made)["ResNet-110"][1]) == 6.5


def test_records_of_other_settings_are_not_taken_for_these(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    other = plan("cifar_depth", "recipe.lr=0.2", f"results={tmp_path}")
    path = write_records(made, results_of(other, ResNet_20=[8.9]))
    assert not any(collect(made).values())
    path.write_text(path.read_text()[:200])
    with pytest.raises(UserError, match=r"records.json is damaged"):
        collect(made)
    path.write_text('{"format": 99, "runs": []}')
    with pytest.raises(UserError, match="format 99; this version reads 2 and 3"):
        collect(made)


def edited(path, change):
    """Change a file of records as somebody's editor would."""
    content = json.loads(path.read_text())
    change(content, content["runs"])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda runs: runs.append(runs[0]), "it is there 2 times: keep one of them"),
        (lambda runs: runs[0].update(seed=3), "seed is 3: which is it?"),
        (lambda runs: runs[0].pop("state"), "state is missing"),
        (lambda runs: runs[0].update(more=1), "more is not known"),
        (lambda runs: runs[0].update(iteration=64001), "iteration is 64001, of 64000"),
        (lambda runs: runs[0].update(train_error=-1), "train_error is -1: it must be a number"),
        (lambda runs: runs[0].update(train_error=float("nan")), "train_error is NaN"),
        (lambda runs: runs[0].update(seconds=True), "seconds is True"),
        (lambda runs: runs[0].update(train_curve=[[1, "2"]]), "train_curve is a list: it must be"),
        (lambda runs: runs[0]["sessions"][0].update(command="a 'b"), "session 1: command is"),
        (lambda runs: runs[0]["sessions"][0].update(python=[[]]), "session 1: python is a list"),
        (lambda runs: recount(runs[0], num_errors=-300), "single_view: num_errors is -300"),
        (lambda runs: recount(runs[0], num_images=10), "num_errors is 4450, of 10"),
        (lambda runs: recount(runs[0], num_images=10**4000), "num_images is 1000000000000"),
    ],
)
def test_a_run_that_cannot_be_is_named_and_left_out_and_nothing_is_lost(
    tmp_path, caplog, monkeypatch, change, word
):
    monkeypatch.setattr(logging.getLogger("resnet_repro"), "propagate", True)
    monkeypatch.setattr(archive, "_said", set())
    made = plan("cifar_depth", f"results={tmp_path}")
    path = write_records(made, results_of(made, ResNet_20=[8.9], ResNet_32=[7.9]))
    edited(path, lambda content, runs: change(runs))
    before = path.read_bytes()
    table, _ = write_report(made)
    assert re.search(rf"left out: {path} at line \d+, run ResNet-20-seed0-261958b2: ", caplog.text)
    assert word in caplog.text
    text = render(table, "md")
    assert cells(text, "ResNet-20")[4] == "-"
    assert cells(text, "ResNet-32")[4] == "7.90"
    assert path.read_bytes() == before
    assert "nothing was written" in caplog.text


def recount(run, **counts):
    run["evaluations"]["single_view"].update(counts)


def test_records_of_the_version_before_are_read_and_become_todays(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    path = write_records(made, results_of(made, ResNet_20=[8.9]))
    today = path.read_text()

    def make_old(content, runs):
        content["format"] = 2
        content.pop("changes")
        runs[0].pop("energy")

    edited(path, make_old)
    write_report(made)
    assert path.read_text() == today


def test_runs_of_other_settings_under_a_rows_name_are_named_and_kept(tmp_path):
    """Never averaged: what somebody put there, or what a changed default left behind."""
    made = plan("cifar_depth", f"results={tmp_path}")
    other = plan("cifar_depth", "recipe.lr=0.2", f"results={tmp_path}")
    found = results_of(made, ResNet_20=[8.9])
    found["ResNet-20"] += results_of(other, ResNet_20=[20.0])["ResNet-20"]
    path = write_records(made, found)
    table, _ = write_report(made)
    text = render(table, "md")
    assert cells(text, "ResNet-20")[4] == "8.90"
    stranger = found["ResNet-20"][1].id
    assert f"Not counted: {stranger}, made with other settings than those of ResNet-20" in text
    assert stranger in path.read_text()


def test_a_run_tested_by_another_protocol_is_named_and_not_counted():
    made = plan("imagenet_depth")
    (row,) = (row for row in made.rows if row.name == "ResNet-50")
    good = result(row, 0, None, evaluations={row.protocol: counts(22.9, 6.8)})
    other = result(row, 1, None, evaluations={"one_crop 256/224": counts(25.0, 8.0)})
    text = render(build_table(made, {"ResNet-50": [good, other]}), "md")
    assert cells(text, "ResNet-50")[4].startswith("22.90 [1]")
    assert "[1] ResNet-50, seed 1: not counted; it was tested by one crop (256/224)" in text


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
        "Training error: plain-44 less plain-32: +0.90 [+0.58, +1.22], 2 seeds; plain-32 less "
        "plain-20: +0.95 [+0.63, +1.27], 2 seeds; no run yet of plain-56."
    ) in text
    found["plain-56"] = [result(rows["plain-56"], s, 12.0 + s / 9, train_error=5) for s in (0, 1)]
    table = build_table(made, found)
    assert [claim.word for claim in table.claims] == ["holds", "holds"]
    assert "% holds: Deeper plain networks" in render(table, "tex")
    assert json.loads(render(table, "json"))["claims"][0]["word"] == "holds"


@pytest.mark.parametrize(
    ("count", "printed", "agree"),
    [
        (269_722, 0.27e6, True),
        (1_727_962, 1.7e6, True),
        (19_421_274, 19.4e6, True),
        (3_857_973_248, 3.8e9, True),  # cut off, not rounded
        (285_000, 0.27e6, False),
        (4_089_184_256, 3.8e9, False),
    ],
)
def test_counts_agree_to_the_digits_printed(count, printed, agree):
    assert agrees(count, printed) is agree


def test_markdown_aligns_numbers_to_the_right():
    text = markdown(["name", "error"], [["a", "8.75"], ["bcd", "10.2"]])
    assert text == (
        "| name | error |\n| ---- | ----: |\n| a    |  8.75 |\n| bcd  |  10.2 |"
    )  # fmt: skip


def test_published_tables_are_what_their_records_give(run_cli):
    outcome = run_cli("verify", str(PUBLISHED))
    assert outcome.code == 0, outcome.out
    assert "quickstart: as its records give it" in outcome.out


def test_the_readme_shows_the_quickstarts_own_table():
    table = (PUBLISHED / "quickstart/table.md").read_text().split("\n\n")[1]
    assert table.startswith("| network")
    assert table in (ROOT / "README.md").read_text()
