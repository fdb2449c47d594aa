"""The table of a sweep, end to end through the command line."""

import csv
import io
import json
import re

import pytest

from resnet_repro.launch.local import run_all
from resnet_repro.records.results import write_records
from tests.support.plans import plan
from tests.support.results import result
from tests.support.runs import SMALL

# Warm-up would be all of so short a schedule, and every learning rate the same.
WORDS = [*SMALL, "recipe.warmup.lr=null"]


def table(run_cli, *words):
    outcome = run_cli("table", *WORDS, *words, "format=csv")
    assert outcome.code == 0, outcome.err
    return list(csv.DictReader(io.StringIO(outcome.out)))


@pytest.mark.slow
@pytest.mark.pictures
def test_a_sweep_is_one_table_that_more_values_extend(run_cli, tmp_path):
    lr, seeds = "recipe.lr=0.05,0.2", "seeds=[0,1]"
    done = run_cli(*WORDS, lr, seeds)
    assert done.code == 0, done.err
    assert "4 runs, 4 to train" in done.out
    (folder,) = (tmp_path / "results/quickstart").iterdir()
    assert folder.name.startswith("sweep-recipe.lr,")
    assert {"table.md", "sweep.png", "curves.png", "records.json"} <= {
        p.name for p in folder.iterdir()
    }
    first, second = table(run_cli, lr, seeds)
    assert (first["network"], first["recipe.lr"], second["recipe.lr"]) == (
        "ResNet-8",
        "0.05",
        "0.2",
    )
    assert (first["is_default"], first["is_baseline"]) == ("True", "True")
    difference = float(second["our_mean"]) - float(first["our_mean"])
    assert float(second["baseline_difference"]) == pytest.approx(difference)
    assert float(second["baseline_interval_low"]) < difference

    again = run_cli(*WORDS, lr, seeds)
    assert "4 runs, 0 to train" in again.out
    one = run_cli(*WORDS, "recipe.lr=0.2", seeds)  # the same runs, in a table of changed settings
    assert "2 runs, 0 to train" in one.out
    more = run_cli(*WORDS, "recipe.lr=0.1,0.2", seeds)
    assert "4 runs, 2 to train" in more.out, more.out
    lines = table(run_cli, lr, seeds)
    assert [line["recipe.lr"] for line in lines] == ["0.05", "0.1", "0.2"]
    assert run_cli("verify", "results").code == 0
    document = json.loads(run_cli("table", *WORDS, lr, seeds, "format=json").out)
    assert document["swept"] == ["recipe.lr"]
    contrast = document["lines"][1]["contrast"]
    assert contrast["baseline"] == "ResNet-8 recipe.lr=0.05" and contrast["num_comparisons"] == 2
    explained = run_cli("explain", *WORDS, lr, seeds).out
    assert "Compared with ResNet-8 recipe.lr=0.05" in explained
    assert "(default)" in run_cli("table", *WORDS, lr, seeds).out


def test_a_kept_sweep_runs_by_its_name(run_cli, tmp_path):
    file = tmp_path / "mine/sweep/rates.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "experiment: quickstart\nrows: [ResNet-8]\nseeds: [0, 1]\ntitle: Rates of learning\n"
        "vary: {recipe.lr: [0.05, 0.2]}\nbaseline: 0.2\n"
        "claims:\n- text: Less is more\n"
        "  falling: [ResNet-8 recipe.lr=0.2, ResNet-8 recipe.lr=0.05]\n"
    )
    words = [word for word in WORDS if not word.startswith(("experiment=", "row="))]
    done = run_cli("--config-dir", "mine", "sweep=rates", *words)
    assert done.code == 0, done.err
    assert "4 runs, 4 to train" in done.out and "Rates of learning" in done.out
    (folder,) = (tmp_path / "results/quickstart").iterdir()
    assert folder.name.startswith("sweep-rates,")
    text = (folder / "table.md").read_text()
    assert "Less is more" in text and re.search(r"\| +0\.2 .*\| baseline +\|", text)
    assert run_cli("--config-dir", "mine", "verify", "results").code == 0


@pytest.mark.pictures
def test_two_settings_give_a_map(run_cli, tmp_path):
    done = run_cli(*WORDS, "recipe.lr=0.05,0.2", "model.shortcut=A,B", "format=json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert [line["values"] for line in document["lines"]] == [
        {"recipe.lr": lr, "model.shortcut": option} for lr in (0.05, 0.2) for option in "AB"
    ]
    (folder,) = (tmp_path / "results/quickstart").iterdir()
    svg = (folder / "sweep.svg").read_text()
    assert "recipe.lr" in svg
    assert "model.shortcut" in svg


def test_values_that_are_recorded_while_others_are_trained_stay_in_the_table(
    run_cli, tmp_path, monkeypatch
):
    """By another command, or by `collect`."""
    grid = "sweep.grid=['recipe.lr=choice(0.2,0.4)']"
    words = [word for word in WORDS if not word.startswith("experiment=")]
    other = plan("quickstart", f"results={tmp_path / 'results'}", *words, grid)
    rows = [row for row in other.rows if row.name in other.selected]
    trained = run_all

    def run(*args):
        complete = trained(*args)
        write_records(other, {row.name: [result(row)] for row in rows})
        return complete

    monkeypatch.setattr("resnet_repro.launch.local.run_all", run)
    done = run_cli(*WORDS, "recipe.lr=0.05,0.1")
    assert done.code == 0, done.err
    lines = list(csv.DictReader(io.StringIO((other.folder / "table.csv").read_text())))
    assert [line["recipe.lr"] for line in lines] == ["0.05", "0.1", "0.2", "0.4"]
