"""The scripts: how `numbers` stops, and what it packs and unpacks."""

import os
import subprocess
import sys

import pytest

from resnet_repro.records import Record
from resnet_repro.records.results import write_records
from resnet_repro.records.runs import run_folder
from tests.support.paths import ROOT
from tests.support.plans import plan
from tests.support.processes import wait
from tests.support.results import record_run, results_of
from tests.support.runs import PATIENCE

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


STOPPED = """
import runpy, sys
sys.executable, sys.argv = "./command", ["numbers", "depth", "plain"]
runpy.run_path({script!r}, run_name="__main__")
"""


def test_numbers_passes_a_stop_on_and_starts_nothing_after_it(tmp_path):
    """As a batch system or `kill` sends it, to the script alone."""
    command = tmp_path / "command"
    command.write_text("#!/bin/bash\ntrap 'exit 130' TERM; echo >> started; sleep 60 & wait\n")
    command.chmod(0o755)
    text = STOPPED.format(script=str(ROOT / "scripts/numbers"))
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", text], cwd=tmp_path, env=environ)
    try:
        wait((tmp_path / "started").is_file)
        process.terminate()
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
    assert (tmp_path / "started").read_text() == "\n"


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
