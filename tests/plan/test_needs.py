"""Runs that need other runs: a row that starts from another's weights, and an ensemble."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from resnet_repro.plan import Run, in_stages, with_needs
from tests.support.runs import SMALL

# A learning rate of nothing: the second row's weights stay those that it starts with.
FILE = """\
# @package _global_
defaults: [override /model: cifar_resnet, override /data: synthetic, override /recipe: quickstart]
model: {width: 8}
recipe: {warmup: {lr: null}}
rows:
  - {name: first, set: {model.depth: 8}}
  - {name: second, starts_from: first, set: {model.depth: 8, recipe.lr: 1.0e-30}}
  - {name: third, set: {model.depth: 8, recipe.lr: 1.0e-30}}
  - {name: both, members: [first, second]}
"""
WORDS = ["experiment=chain", *SMALL[2:]]


@pytest.fixture
def chain(run_cli, tmp_path):
    """Call the command line on an experiment of three rows and an ensemble."""
    file = tmp_path / "mine/experiment/chain.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(FILE)
    return lambda *words: run_cli("--config-dir", "mine", *WORDS, *words)


def explained(chain, row):
    return json.loads(chain("explain", f"row={row}", "format=json").out)["rows"][0]


def test_a_row_starts_from_the_weights_that_another_ended_with(chain, tmp_path):
    done = chain("row=second")
    assert done.code == 0, done.err
    runs = tmp_path / "results/runs"
    folders = {path.name.split("-")[0]: path for path in runs.glob("*-seed0-*")}
    assert folders.keys() == {"first", "second"}
    first, second = (torch.load(folders[name] / "last.pt")["model"] for name in ("first", "second"))
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert moved == {name for name in first if "running" in name}
    row = explained(chain, "second")
    assert [each["id"] for each in row["needs"]] == [folders["first"].name]
    assert "Trained first, for their weights or proposals:\n  first-seed0" in chain("explain").out
    plan = json.loads(chain("plan", "format=json").out)["runs"]
    assert len({run["id"].split("-")[-1] for run in plan}) == 3  # third: what second is without
    # Its start has other weights, or is gone: nothing else stops, and it says what to bring back.
    shutil.rmtree(folders["second"])
    record = folders["first"] / "record.jsonl"
    text = record.read_text()
    record.write_text(text.replace(json.loads(text.splitlines()[-1])["weights"], "0" * 64))
    again = chain("row=second")
    assert again.code == 1
    assert "last.pt does not have the weights that the run ended" in again.err
    record.write_text(text)
    (folders["first"] / "last.pt").unlink()
    again = chain("row=second")
    assert again.code == 1
    assert "the weights of first-seed0" in again.err and "copy last.pt back" in again.err


def test_a_run_waits_for_what_it_needs(chain, tmp_path):
    assert chain("row=first", "seeds=[0]").code == 0
    (folder,) = (tmp_path / "results/runs").glob("first-seed0-*")
    record = folder / "record.jsonl"
    last = json.loads(record.read_text().splitlines()[-1])
    kept = "".join(line + "\n" for line in record.read_text().splitlines()[:-1])
    end = {"event": "diverged", "iteration": 4, "reason": "made up", "seconds": 1.0}
    end["weights"] = last["weights"]
    events = [line for line in kept.splitlines() if json.loads(line)["iteration"] <= 4]
    record.write_text("\n".join([*events, json.dumps(end)]) + "\n")
    outcome = chain("row=[second,both]")
    assert outcome.code == 1
    assert "needs runs that are not finished: first-seed0" in outcome.err
    assert not list((tmp_path / "results/runs").glob("second-*"))


def test_jobs_come_after_those_that_they_need(chain, tmp_path, monkeypatch):
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "sbatch").write_text("#!/bin/bash\necho 47$(ls results/runs/slurm/*.sh | wc -l)\n")
    for name in ("squeue", "scontrol"):
        (bin / name).write_text("#!/bin/bash\n")
    for program in bin.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(bin), prepend=":")
    asked = chain("submit", "row=[second,both]")
    assert asked.code == 0, asked.err
    second, both = (
        (tmp_path / "results/runs/slurm" / f"{name}.sh").read_text()
        for name in ("chain-2", "chain-ensembles")
    )
    assert "#SBATCH --dependency=afterany:471_0\n" in second
    assert "#SBATCH --dependency=afterany:471_0:472_0\n" in both


def test_an_ensemble_names_its_members_and_one_that_was_trained_again(chain, tmp_path):
    assert chain("row=both").code == 0
    row = explained(chain, "both")
    assert row["runs"][0]["tested_weights"] == [each["weights"] for each in row["needs"]]
    text = chain("explain", "row=both").out
    assert "Members:\n  first-seed0" in text and "other weights now" not in text
    (folder,) = (tmp_path / "results/runs").glob("both-of2-*")
    tests = json.loads((folder / "evaluations.json").read_text())
    for test in tests.values():
        test["weights"][0] = "0" * 64
    (folder / "evaluations.json").write_text(json.dumps(tests))
    text = chain("explain", "row=both").out
    assert "has other weights now than when the ensemble was tested" in text
    assert chain("row=both").code == 0  # tests it again
    assert "other weights now" not in chain("explain", "row=both").out
    (folder / "evaluations.json").unlink()
    (checkpoint,) = (tmp_path / "results/runs").glob("first-seed0-*/last.pt")
    checkpoint.write_bytes(b"damaged")
    outcome = chain("row=both")  # which says so, and still prints the table
    assert "\nboth: no checkpoint in" in outcome.err and "| both " in outcome.out


def test_an_experiment_cannot_start_from_itself_or_from_below(run_cli, chain, tmp_path):
    file = tmp_path / "mine/experiment/chain.yaml"
    for name in ("second", "third", "both", "nobody"):
        file.write_text(FILE.replace("starts_from: first", f"starts_from: {name}"))
        outcome = chain("plan")
        assert outcome.code == 1
        assert f"row second: starts_from={name}" in outcome.err


def test_stages_and_order(config):
    first = Run("first", config)
    second = Run("second", config, (first,))
    third = Run("third", replace(config, seed=1), (second,))
    runs = with_needs([third, first])
    assert [run.row for run in runs] == ["first", "second", "third"]
    assert [[run.row for run in stage] for stage in in_stages([third, second, first])] == [
        ["first"], ["second"], ["third"],
    ]  # fmt: skip
    assert len({run.digest for run in runs}) == 3
    assert first.digest == Run("other", config).digest
