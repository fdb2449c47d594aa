"""`records.json`: what it keeps, what it takes, and what it leaves out with a word."""

import json
import logging
import re

import pytest

from resnet_repro.errors import UserError
from resnet_repro.records import Record, archive
from resnet_repro.records.results import load_results, write_records
from resnet_repro.report.render import render
from resnet_repro.report.tables import build_table
from resnet_repro.report.write import write_outputs
from tests.support.plans import plan
from tests.support.results import cells, counts, error_of, result, results_of


def test_a_committed_result_stays_until_the_run_here_has_ended(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    write_records(made, results_of(made, ResNet_20=[8.9]))
    record = Record(tmp_path / "runs" / made.runs[0].id)
    record.folder.mkdir(parents=True)
    record.append("test", 1000, protocol="single_view", num_errors=4000, num_images=10000)
    assert error_of(load_results(made)["ResNet-20"][0]) == 8.9
    record.add_evaluation("single_view", num_errors=850, num_images=10000)
    record.append("finished", 64000, seconds=1.0, weights="cd")
    assert error_of(load_results(made)["ResNet-20"][0]) == 8.5


@pytest.mark.pictures
def test_records_alone_give_the_same_files_again(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    results = results_of(made, ResNet_20=[8.9], ResNet_110=[6.7, 6.5])
    made.folder.mkdir(parents=True)
    write_records(made, results)
    write_outputs(made)
    files = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    pictures = {
        f"{name}.{kind}"
        for name in ("curves", "differences", "depth", "cost")
        for kind in ("svg", "png")
    }
    tables = {"table.md", "table.csv", "table.json", "table.tex", "records.json"}
    assert files.keys() == tables | pictures
    write_outputs(made)
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == files
    assert error_of(load_results(made)["ResNet-110"][1]) == 6.5


def test_records_of_other_settings_are_not_taken_for_these(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    other = plan("cifar_depth", "recipe.lr=0.2", f"results={tmp_path}")
    path = write_records(made, results_of(other, ResNet_20=[8.9]))
    assert not any(load_results(made).values())
    path.write_text(path.read_text()[:200])
    with pytest.raises(UserError, match=r"records.json is damaged"):
        load_results(made)
    path.write_text('{"format": 99, "runs": []}')
    with pytest.raises(UserError, match="format 99; this version reads 3"):
        load_results(made)


def edited(path, change):
    """Change a file of records as somebody's editor would."""
    content = json.loads(path.read_text())
    change(content, content["runs"])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda runs: runs.append(runs[0]), "it is listed 2 times: keep one of them"),
        (lambda runs: runs[0].update(seed=3), "id and seed disagree (seed 3)"),
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
    monkeypatch.setattr(archive, "_warned", set())
    made = plan("cifar_depth", f"results={tmp_path}")
    path = write_records(made, results_of(made, ResNet_20=[8.9], ResNet_32=[7.9]))
    edited(path, lambda content, runs: change(runs))
    before = path.read_bytes()
    table, _ = write_outputs(made)
    assert re.search(rf"left out: {path} at line \d+, run ResNet-20-seed0-261958b2: ", caplog.text)
    assert word in caplog.text
    text = render(table, "md")
    assert cells(text, "ResNet-20")[4] == "-"
    assert cells(text, "ResNet-32")[4] == "7.90"
    assert path.read_bytes() == before
    assert "nothing was written" in caplog.text


def recount(run, **counts):
    run["evaluations"]["single_view"].update(counts)


def test_runs_of_other_settings_under_a_rows_name_are_named_and_kept(tmp_path):
    """Never averaged: what somebody put there, or what a changed default left behind."""
    made = plan("cifar_depth", f"results={tmp_path}")
    other = plan("cifar_depth", "recipe.lr=0.2", f"results={tmp_path}")
    found = results_of(made, ResNet_20=[8.9])
    found["ResNet-20"] += results_of(other, ResNet_20=[20.0])["ResNet-20"]
    path = write_records(made, found)
    table, _ = write_outputs(made)
    text = render(table, "md")
    assert cells(text, "ResNet-20")[4] == "8.90"
    stranger = found["ResNet-20"][1].id
    assert f"Not counted: {stranger}, because its settings differ from those of ResNet-20" in text
    assert stranger in path.read_text()


def test_a_run_tested_by_another_protocol_is_named_and_not_counted():
    made = plan("imagenet_depth")
    (row,) = (row for row in made.rows if row.name == "ResNet-50")
    good = result(row, 0, None, evaluations={row.protocol: counts(22.9, 6.8)})
    other = result(row, 1, None, evaluations={"one_crop 256/224": counts(25.0, 8.0)})
    text = render(build_table(made, {"ResNet-50": [good, other]}), "md")
    assert cells(text, "ResNet-50")[4].startswith("22.90 [1]")
    assert (
        "[1] ResNet-50, seed 1: not counted, because it was tested with one crop (256/224)" in text
    )
