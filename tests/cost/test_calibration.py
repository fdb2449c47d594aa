"""How fast this machine is: networks timed once, and kept."""

import json

import pytest

from resnet_repro.cost import calibration
from resnet_repro.cost.calibration import chip
from resnet_repro.cost.estimates import Estimates
from resnet_repro.models.complexity import measure
from tests.support.costs import RATE, plan_text, speeds_of
from tests.support.plans import plan


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


FOUR = [(8, "none"), (8, "A"), (32, "none"), (32, "A")]


def rates(estimates, made):
    """Return the multiply-adds per second of each row."""
    sizes = {row.name: measure(row.config).multiply_adds for row in made.rows}
    speeds = speeds_of(made, estimates)
    return [speed.images_per_second * sizes[name] for name, speed in speeds.items()]


@pytest.mark.parametrize(
    ("bursts", "expected"),
    [
        ([(2, 3.5)], FOUR * 3),  # in the second round: the other two count
        ([(1, 2), (3, 4), (5, 6)], [*FOUR * 3, *FOUR[2:]]),  # in each round, while these are timed
    ],
)
def test_a_burst_of_other_work_does_not_make_a_network_slow(tmp_path, machine, bursts, expected):
    machine.bursts = bursts
    made = plan("quickstart", f"results={tmp_path}")
    text = plan_text(made)
    assert machine.timed == expected
    assert rates(Estimates(made), made) == pytest.approx([RATE] * 4, rel=1e-3)
    assert "Other programs used the CPU" not in text
    assert len(machine.timed) == len(expected), "what was timed is kept"


def test_a_network_that_really_costs_more_is_timed_again_and_believed(
    tmp_path, machine, monkeypatch
):
    real = machine.images_per_second
    slow = lambda config: real(config) / (5 if config.model.shortcut == "A" else 1)  # noqa: E731
    monkeypatch.setattr(calibration, "images_per_second", slow)
    made = plan("quickstart", f"results={tmp_path}", "row=[plain-8,plain-32,ResNet-8]")
    assert rates(Estimates(made), made) == pytest.approx([RATE, RATE, RATE / 5], rel=1e-3)
    assert machine.timed.count((8, "A")) == calibration.ROUNDS + calibration.EXTRA_ROUNDS
    assert machine.timed.count((8, "none")) == calibration.ROUNDS


def test_what_was_timed_on_a_busy_machine_is_said_and_timed_again(tmp_path, machine):
    machine.bursts = [(0, 1e9)]
    made = plan("quickstart", f"results={tmp_path}", "row=[plain-8,plain-32]")
    said = "Other programs used the CPU during these timings: plain-8, plain-32."
    assert said in plan_text(made)
    first = len(machine.timed)
    machine.bursts = []
    assert "Other programs used the CPU" not in plan_text(made)
    assert len(machine.timed) == 2 * first
    assert rates(Estimates(made), made) == pytest.approx([RATE] * 2, rel=1e-3)
    assert len(machine.timed) == 2 * first


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
    assert {record.getMessage() for record in caplog.records} == {
        f"{tmp_path}/calibration.json is damaged: networks are timed again"
    }
    assert len(json.loads((tmp_path / "calibration.json").read_text())["speeds"]) == 4
    Estimates(made)
    assert len(timed) == 4


def test_what_does_not_fit_the_seconds_is_scaled_and_marked(tmp_path, timed, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_SECONDS", 0.0)
    made = plan("quickstart", f"results={tmp_path}")
    text = plan_text(made)
    assert timed == [(8, "none")]
    marked = {line.split()[1]: "~" in line for line in text.splitlines() if "| todo" in line}
    assert list(marked.values()) == [False, True, True, True]
    assert "~: scaled by multiply-adds from the nearest network that was timed." in text
    sizes = {row.name: measure(row.config).multiply_adds for row in made.rows}
    speeds = {name: s.images_per_second * sizes[name] for name, s in speeds_of(made).items()}
    assert speeds == pytest.approx(dict.fromkeys(speeds, RATE), rel=1e-3)


def test_a_large_network_alone_is_not_begun_before_a_small_one_tells_its_speed(tmp_path, timed):
    # Whether its groups fit in memory together would take seconds to count.
    words = ["row=ResNet-1202", "compute.accumulate=true"]
    made = plan("cifar_depth", f"results={tmp_path}", *words)
    speed = speeds_of(made)["ResNet-1202"]
    assert timed == [(20, "A")]  # at this rate 1202 layers would take more than the seconds
    assert speed.is_scaled
    assert speed.images_per_second == pytest.approx(RATE / 2_829_238_912, rel=1e-3)


def test_what_two_processes_time_at_once_is_all_kept(tmp_path):
    entry = {"chip": "a chip", "gain": 1.3}
    first = calibration.Calibration(tmp_path)
    first.channels_last["removed"] = first.side_by_side["kept"] = entry
    first.save()
    one, other = (calibration.Calibration(tmp_path) for _ in range(2))
    one.side_by_side["one"] = entry
    del one.channels_last["removed"]
    one.save()
    other.side_by_side["other"] = entry
    other.save()
    last = calibration.Calibration(tmp_path)
    assert last.side_by_side.keys() == {"kept", "one", "other"}
    assert not last.channels_last


def test_a_folder_that_cannot_be_written_costs_the_file_only(tmp_path, timed, caplog, monkeypatch):
    monkeypatch.setattr(calibration.logger, "propagate", True)
    (tmp_path / "calibration.json").mkdir()
    made = plan("quickstart", f"results={tmp_path}")
    assert Estimates(made).speeds
    assert "the next plan times again" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} - {".calibration.json.lock"} == {
        "calibration.json"
    }
    assert chip(made.runs[0].config)


def test_a_network_is_timed_in_the_memory_format_that_its_runs_take(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(calibration, "ROUNDS", 1)
    monkeypatch.setattr(
        calibration,
        "images_per_second",
        lambda config: asked.append(config.compute.channels_last) or 100.0,
    )
    made = plan("quickstart", f"results={tmp_path}", "row=plain-8")
    config = made.runs[0].config
    Estimates(made)
    assert asked == [None]
    found = calibration.Calibration(tmp_path)
    found.channels_last[calibration.network_key(config)] = {"chip": chip(config), "gain": 0.8}
    found.speeds.clear()
    found.save()
    Estimates(made)
    assert asked == [None, False]
