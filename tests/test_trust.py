"""From a finished table back to where it comes from, through the command line."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import PUBLISHED, SMALL, copy_published

from resnet_repro.records.results import public_command


@pytest.fixture
def trained(run_cli, tmp_path):
    """Train two rows of a shortened quickstart, two seeds each; return where its table lies."""
    outcome = run_cli(*SMALL, "row=[plain-8,ResNet-8]", "seeds=[0,1]")
    assert outcome.code == 0, outcome.err
    (folder,) = (tmp_path / "results/quickstart").glob("changed-*")
    return folder


def test_a_table_is_what_its_records_give_or_it_is_said_where_not(trained, run_cli, tmp_path):
    outcome = run_cli("verify", "results")
    assert (outcome.code, outcome.out) == (
        0, f"{trained.relative_to(tmp_path)}: as its records give it\n"
    )  # fmt: skip
    table = trained / "table.md"
    right = table.read_text()
    number = re.search(r"\d+\.\d\d", right.split("ResNet-8 ", 1)[1])[0]
    table.write_text(right.replace(number, "0.10"))
    (trained / "table.csv").unlink()
    outcome = run_cli("verify", str(trained))
    assert outcome.code == 1
    assert re.search(r"table.md differs from line \d+ on", outcome.out)
    assert "table.csv is missing" in outcome.out


def test_records_say_nothing_of_the_machines_folders(trained):
    command = "resnet-repro --config-dir /home/me/mine experiment=mine results=out data.root=/data"
    assert public_command(command) == "resnet-repro --config-dir DIR experiment=mine"
    assert str(Path.home()) not in (trained / "records.json").read_text()
    content = json.loads((trained / "records.json").read_text())
    assert "recipe.iterations=6" in content["changes"]
    assert not [word for word in content["changes"] if word.startswith(("compute", "data.root"))]


def test_explain_names_runs_settings_and_weights(trained, run_cli):
    outcome = run_cli("explain", *SMALL)
    run = json.loads((trained / "records.json").read_text())["runs"][-1]
    assert outcome.code == 0
    assert "recipe.iterations = 6 (experiment: 500)" in outcome.out
    assert f"{run['id']}: finished" in outcome.out
    assert f"weights: SHA-256 {run['weights']}" in outcome.out
    assert f"files: results/runs/{run['id']}" in outcome.out
    shutil.rmtree("results/runs")
    assert "records.json alone" in run_cli("explain", *SMALL).out


def test_explain_says_how_a_verdict_was_made(run_cli, tmp_path):
    copy_published(tmp_path / "results")
    outcome = run_cli("explain", "experiment=cifar_depth", "row=ResNet-110")
    assert outcome.code == 0
    assert "The paper: 6.43 %, best of 5, mean 6.61 +- 0.16; p1.t6.resnet110" in outcome.out


def test_compare_tells_the_same_from_another(trained, run_cli, tmp_path):
    """The same bits again; another precision is named, and its two seeds judged."""
    outcome = run_cli("compare", str(trained), str(trained))
    assert outcome.code == 0
    assert outcome.out.count("| identical |") == 2
    assert run_cli(*SMALL, "seeds=[0,1]", "recipe.momentum=0.5").code == 0
    (other,) = {*trained.parent.glob("changed-*")} - {trained}
    outcome = run_cli("compare", str(trained), str(other))
    assert outcome.code == 0
    assert "- recipe.momentum: 0.9 and 0.5" in outcome.out
    assert "plain-8: in the first only" in outcome.out
    row = next(line for line in outcome.out.splitlines() if line.startswith("| ResNet-8"))
    assert re.search(r"(undecided|higher|lower|same) \| +0 of 2", row)


def test_compare_pairs_the_experiments_of_two_folders(trained, run_cli, tmp_path):
    shutil.copytree(tmp_path / "results", tmp_path / "other's results")
    outcome = run_cli("compare", "results", "other's results")
    assert outcome.code == 0
    assert outcome.out.count("identical") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "results"), "Say compare DIR DIR"),
        (("compare", "results", "nowhere"), "nowhere: there is no records.json in it"),
        (("verify", "nowhere"), "nowhere: there is no records.json in it"),
        (("verify", "torn"), "torn/records.json is damaged"),
        (("verify", "foreign"), "is of my_table, which is no experiment here"),
    ],
)
def test_what_cannot_be_read_is_named(run_cli, tmp_path, words, message):
    copy_published(tmp_path / "results")
    for name in ("torn", "foreign"):
        shutil.copytree(PUBLISHED / "quickstart", tmp_path / name)
    path = tmp_path / "torn/records.json"
    os.truncate(path, path.stat().st_size // 2)
    path = tmp_path / "foreign/records.json"
    path.write_text(path.read_text().replace('"quickstart"', '"my_table"'))
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert message in outcome.err
    assert "Traceback" not in outcome.err
