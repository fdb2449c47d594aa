"""How long a plan takes."""

import re

import pytest

from resnet_repro.cost import calibration
from resnet_repro.cost import table as cost
from resnet_repro.cost.estimates import Estimates
from resnet_repro.models.complexity import measure
from tests.support.costs import RATE, plan_text, row_of, seconds_of, speeds_of
from tests.support.plans import plan
from tests.support.results import record_run


def test_recorded_speeds_win_if_they_are_of_this_chip(tmp_path, timed):
    made = plan("quickstart", f"results={tmp_path}")
    here, elsewhere = row_of(made, "ResNet-8"), row_of(made, "plain-8")
    record_run(made, here.run(3), iteration=100)
    record_run(made, elsewhere.run(0), iteration=100, cpu="another CPU")
    speeds = speeds_of(made)
    assert (8, "A") not in timed
    assert speeds["ResNet-8"].images_per_second == 50.0
    assert speeds["plain-8"].images_per_second > 1000


def test_a_speed_is_scaled_from_networks_of_its_precision(tmp_path, machine, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_SECONDS", 0.0)  # no timing but the first
    words = ["row=[ResNet-8,ResNet-32]", "sweep.grid=['recipe.precision=choice(fp32,bf16)']"]
    made = plan("quickstart", f"results={tmp_path}", *words)
    rows = {row.name: row for row in made.rows}
    for precision, speed in (("fp32", 40.0), ("bf16", 100.0)):
        run = rows[f"ResNet-8 recipe.precision={precision}"].run(0)
        record_run(made, run, iteration=100, speed=speed)
    found = speeds_of(made)
    slow, fast = (found[f"ResNet-32 recipe.precision={each}"] for each in ("fp32", "bf16"))
    assert slow.is_scaled
    assert fast.images_per_second == pytest.approx(2.5 * slow.images_per_second)


def test_the_time_left_counts_iterations_and_tests_that_are_left(tmp_path, timed):
    made = plan("quickstart", f"results={tmp_path}", "row=ResNet-8", "evaluation.every=200")
    run = made.runs[0]
    speed = RATE / measure(run.config).multiply_adds
    # 500 iterations of 64 images; tests of 1000 after 200, 400 and 500, a third of the work each.
    num_test = run.config.data.generate.num_test
    whole = (500 * 64 + num_test) / speed
    assert Estimates(made).seconds_left(run) == pytest.approx(whole, rel=1e-3)
    record_run(made, run, iteration=300)
    half = (200 * 64 + 2 / 3 * num_test) / 50  # at the speed that it recorded
    assert Estimates(made).seconds_left(run) == pytest.approx(half)


def test_a_plan_says_how_far_off_its_estimates_were(tmp_path, timed, monkeypatch):
    monkeypatch.setattr("tests.support.costs.RATE", 1e7)  # so that runs are not too short to tell
    made = plan("quickstart", f"results={tmp_path}", "row=[ResNet-8,ResNet-32,plain-32]")
    estimates = Estimates(made)
    assert estimates.accuracy == ""
    runs = {run.row: run for run in made.runs}
    record_run(made, runs["ResNet-8"], estimates.seconds_left(runs["ResNet-8"]) / 0.9)
    again = Estimates(made)
    assert again.accuracy == "Past estimates: 0.90x of the actual time (1 run)."
    said = again.seconds_left(runs["ResNet-32"])  # by now from what ResNet-8 recorded
    assert said != estimates.seconds_left(runs["ResNet-32"])
    record_run(made, runs["ResNet-32"], said / 1.25)
    record_run(made, runs["plain-32"], 1e9, cpu="another CPU")  # tells nothing of this one
    text = plan_text(plan("quickstart", f"results={tmp_path}", "row=plain-8"))
    assert "Past estimates: 0.90x to 1.25x of the actual time (2 runs)." in text


def test_gpu_hours_are_hours_times_processes(tmp_path, timed, monkeypatch):
    made = plan("quickstart", f"results={tmp_path}", "row=ResNet-8")
    assert "GPU-hours" not in plan_text(made)
    monkeypatch.setattr("tests.support.costs.RATE", 1e5)
    monkeypatch.setattr(calibration.torch, "__version__", "99.0")
    monkeypatch.setattr(cost, "num_gpus", lambda config: 4)
    spent = 4 * seconds_of(made, ("ResNet-8", 1)) / 3600
    text = plan_text(made)
    assert f" {spent:,.2f} |" in text
    assert f"({spent:,.1f} GPU-hours)" in text


def test_plan_estimates_and_trains_nothing(run_cli, tmp_path):
    planned = run_cli("plan", "experiment=quickstart", "seeds=[0,1]")
    assert planned.code == 0
    assert "8 runs, 8 to do: about" in planned.out
    assert "| todo " in planned.out
    swept = run_cli("plan", "experiment=quickstart", "row=ResNet-8", "recipe.lr=0.05,0.1")
    assert re.search(r"\| ResNet-8-seed0-\w+ \| ResNet-8 recipe.lr=0.1 +\| todo +\|", swept.out)
    assert "| 0.8M |" in " ".join(swept.out.split())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"calibration.json", ".calibration.json.lock"}
