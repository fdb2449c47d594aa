"""What a plan says of time: speeds timed once and kept, how far off that was; a budget's choice."""

import json

import pytest
from test_plan import plan

from resnet_repro.models.complexity import measure
from resnet_repro.records import Record
from resnet_repro.report import calibration, cost
from resnet_repro.report.calibration import chip
from resnet_repro.report.estimates import Estimates

RATE = 1e10  # multiply-adds per second of the machine that is put in place of this one

SESSION = {
    "started": "2026-01-02T03:04:05+00:00",
    "command": "resnet-repro",
    "resnet_repro": "0.1.0",
    "commit": "0123456789abcdef",
    "dirty": False,
    "torch": "2.15.0",
    "cpu": "a CPU, 2 cores",
    "device": "cpu",
    "num_train": 50000,
}


@pytest.fixture
def timed(monkeypatch):
    """Return the depths and shortcuts timed; nothing is, speeds follow multiply-adds."""
    calls = []

    def images_per_second(config):
        calls.append((config.model.depth, config.model.shortcut))
        return RATE / measure(config).multiply_adds

    monkeypatch.setattr(calibration, "images_per_second", images_per_second)
    return calls


def row_of(made, name):
    return next(row for row in made.rows if row.name == name)


def record_run(made, run, seconds=None, iteration=500, **machine):
    """Record a run on this chip, as far as an iteration; finished where it took `seconds`."""
    record = Record(made.run_folder(run))
    record.folder.mkdir(parents=True)
    here = {"device": "cpu", "cpu": calibration.cpu_name(), "processes": 1}
    here["threads"] = calibration.torch.get_num_threads()
    record.add_session({**SESSION, **here, **machine})
    counts = {"num_errors": 1, "num_images": 10}
    record.append("train", iteration, images_per_second=50.0, **counts)
    if seconds is not None:
        record.add_evaluation("single_view", **counts)
        record.append("finished", iteration, seconds=seconds, weights="ab")


def test_networks_are_timed_once_and_kept_by_chip_and_software(tmp_path, timed, monkeypatch):
    made = plan("quickstart", f"results={tmp_path}", "seeds=[0,1]")
    first = Estimates(made)
    assert timed == [(8, "none"), (8, "A"), (32, "none"), (32, "A")]
    assert Estimates(made).speeds == first.speeds
    # What speed does not depend on does not time again; what it depends on does.
    Estimates(plan("quickstart", f"results={tmp_path}", "recipe.lr=0.2", "seeds=[7]"))
    assert len(timed) == 4
    Estimates(plan("quickstart", f"results={tmp_path}", "recipe.batch_size=32", "row=ResNet-8"))
    assert len(timed) == 5
    monkeypatch.setattr(calibration, "cpu_name", lambda: "another CPU")
    Estimates(made)
    assert len(timed) == 9
    monkeypatch.setattr(calibration.torch, "__version__", "99.0")
    Estimates(made)
    assert len(timed) == 13


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 1, "spe',
        "[]",
        '{"format": 99, "speeds": {}, "estimates": {}}',
        '{"format": 1, "speeds": {"a": {"chip": "c", "images_per_second": 0}}, "estimates": {}}',
    ],
)
def test_a_damaged_file_costs_a_warning_and_is_written_anew(
    text, tmp_path, timed, caplog, monkeypatch
):
    monkeypatch.setattr(calibration.logger, "propagate", True)
    (tmp_path / "calibration.json").write_text(text)
    made = plan("quickstart", f"results={tmp_path}")
    Estimates(made)
    assert len(timed) == 4
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path}/calibration.json is damaged: networks are timed anew"
    ]
    assert len(json.loads((tmp_path / "calibration.json").read_text())["speeds"]) == 4
    Estimates(made)
    assert len(timed) == 4


def test_what_does_not_fit_the_seconds_is_scaled_and_marked(tmp_path, timed, monkeypatch):
    monkeypatch.setattr(calibration, "MOST_SECONDS", 0.0)
    made = plan("quickstart", f"results={tmp_path}")
    text = cost.plan_text(made)
    assert timed == [(8, "none")]
    marked = {line.split()[1]: "~" in line for line in text.splitlines() if "| todo" in line}
    assert list(marked.values()) == [False, True, True, True]
    assert "~: by multiply-adds from the nearest network that was timed." in text
    sizes = {row.name: measure(row.config).multiply_adds for row in made.rows}
    speeds = {name: s.images_per_second * sizes[name] for name, s in Estimates(made).speeds.items()}
    assert speeds == pytest.approx(dict.fromkeys(speeds, RATE), rel=1e-3)


def test_a_large_network_alone_is_not_begun_before_a_small_one_tells_its_speed(tmp_path, timed):
    made = plan("cifar_depth", f"results={tmp_path}", "row=ResNet-1202")
    speed = Estimates(made).speeds["ResNet-1202"]
    assert timed == [(20, "A")]  # at this rate 1202 layers would take more than the seconds
    assert speed.is_scaled
    assert speed.images_per_second == pytest.approx(RATE / 2_829_238_912, rel=1e-3)


def test_recorded_speeds_win_if_they_are_of_this_chip(tmp_path, timed):
    made = plan("quickstart", f"results={tmp_path}")
    here, elsewhere = row_of(made, "ResNet-8"), row_of(made, "plain-8")
    record_run(made, here.run(3), iteration=100)
    record_run(made, elsewhere.run(0), iteration=100, cpu="another CPU")
    speeds = Estimates(made).speeds
    assert (8, "A") not in timed
    assert speeds["ResNet-8"].images_per_second == 50.0
    assert speeds["plain-8"].images_per_second > 1000


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
    monkeypatch.setattr("test_cost.RATE", 1e7)  # so that runs are not too short to tell
    made = plan("quickstart", f"results={tmp_path}", "row=[ResNet-8,ResNet-32,plain-32]")
    estimates = Estimates(made)
    assert estimates.accuracy == ""
    runs = {run.row: run for run in made.runs}
    record_run(made, runs["ResNet-8"], estimates.seconds_left(runs["ResNet-8"]) / 0.9)
    again = Estimates(made)
    assert again.accuracy == "Its estimates for 1 finished run were 0.90 times what they took."
    said = again.seconds_left(runs["ResNet-32"])  # by now from what ResNet-8 recorded
    assert said != estimates.seconds_left(runs["ResNet-32"])
    record_run(made, runs["ResNet-32"], said / 1.25)
    record_run(made, runs["plain-32"], 1e9, cpu="another CPU")  # tells nothing of this one
    text = cost.plan_text(plan("quickstart", f"results={tmp_path}", "row=plain-8"))
    assert "Its estimates for 2 finished runs were 0.90 to 1.25 times what they took." in text


def seconds_of(made, *runs):
    """seconds_of(plan, ("ResNet-20", 3)): what three runs of a row take on that machine."""
    estimates = Estimates(made)
    return sum(number * estimates.seconds_left(row_of(made, name).run(0)) for name, number in runs)


def test_gpu_hours_are_hours_times_processes(tmp_path, timed, monkeypatch):
    made = plan("quickstart", f"results={tmp_path}", "row=ResNet-8")
    assert "GPU-hours" not in cost.plan_text(made)
    monkeypatch.setattr("test_cost.RATE", 1e5)
    monkeypatch.setattr(calibration.torch, "__version__", "99.0")
    monkeypatch.setattr(cost, "num_gpus", lambda config: 4)
    spent = 4 * seconds_of(made, ("ResNet-8", 1)) / 3600
    text = cost.plan_text(made)
    assert f" {spent:,.2f} |" in text
    assert f"({spent:,.1f} GPU-hours)" in text


def test_a_folder_that_cannot_be_written_costs_the_file_only(tmp_path, timed, caplog, monkeypatch):
    monkeypatch.setattr(calibration.logger, "propagate", True)
    (tmp_path / "calibration.json.tmp").mkdir()
    made = plan("quickstart", f"results={tmp_path}")
    assert Estimates(made).speeds
    assert "the next plan times anew" in caplog.text
    assert chip(made.runs[0].config)
