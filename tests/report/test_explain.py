"""`explain`: from a table back to runs, settings, weights, and how a verdict was made."""

import json
import shutil

from tests.support.results import write_table
from tests.support.runs import SMALL


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
    write_table(tmp_path / "results", "cifar_depth", ResNet_110=[6.7, 6.5, 6.6])
    outcome = run_cli("explain", "experiment=cifar_depth", "row=ResNet-110")
    assert outcome.code == 0
    assert "The paper: 6.43 %, best of 5, mean 6.61 +- 0.16; p1.t6.resnet110" in outcome.out
    assert "Verdict: matches [-0.27, +0.25]" in outcome.out
    assert "degrees of freedom: 6" in outcome.out  # of three runs, and the paper's five
