"""The scripts: what `numbers` packs and unpacks."""

import os
import subprocess
import sys

import pytest

from resnet_repro.records import Record
from resnet_repro.records.results import write_records
from resnet_repro.records.runs import run_folder
from tests.support.paths import ROOT
from tests.support.plans import plan
from tests.support.results import record_run, results_of

RUNS = ("finished", "unfinished", "large")


@pytest.fixture
def numbers(tmp_path):
    """Call scripts/numbers; return what it prints."""

    def call(*words):
        command = [sys.executable, ROOT / "scripts/numbers", "--seconds", "0", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
        )
        return done.stdout

    return call


@pytest.mark.slow
def test_numbers_packs_what_a_next_time_needs_and_no_more(tmp_path, numbers):
    """Records of all runs; a checkpoint of the run that is to go on, if it is small."""
    made = plan("cifar_depth", f"results={tmp_path / 'results'}", "seeds=[0,1,2]")
    write_records(made, results_of(made, ResNet_110=[6.4]))
    folders = []
    for name, run in zip(RUNS, made.runs, strict=False):
        record_run(made, run, seconds=9.0 if name == "finished" else None)
        folders.append(run_folder(run, made.results))
        (folders[-1] / "last.pt").write_bytes(bytes(2_000_000 if name == "large" else 9))
    (tmp_path / "results/published/cifar_depth").mkdir(parents=True)
    (tmp_path / "results/published/cifar_depth/records.json").write_text("tracked by git")

    said = numbers("--largest", "1", "--pack", "out.tar.gz")
    assert f"skipped: results/runs/{folders[2].name}/last.pt, 2 MB" in said
    said = numbers("--results", "laid", "--unpack", "out.tar.gz")
    assert said.count("  copied: ") == 4
    laid = {path.relative_to(tmp_path / "laid") for path in (tmp_path / "laid").rglob("*.*")}
    assert {str(path) for path in laid if path.suffix == ".pt"} == {
        f"runs/{folders[1].name}/last.pt"
    }
    assert {path.parts[0] for path in laid} == {"runs", "cifar_depth"}
    states = [Record(tmp_path / "laid/runs" / folder.name).state() for folder in folders]
    assert states == ["finished", "unfinished", "unfinished"]
    numbers("--largest", "1", "--weights", "--pack", "out.tar.gz")
    said = numbers("--results", "laid", "--unpack", "out.tar.gz")
    assert f"updated: {folders[0].name}, with last.pt" in said
