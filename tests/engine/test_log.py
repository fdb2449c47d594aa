"""The lines of a run in training."""

import pytest

from resnet_repro.engine import log
from resnet_repro.records import WALL_SPEED, Record
from resnet_repro.records.runs import run_folder
from resnet_repro.report.status import run_status
from resnet_repro.text import rate_text
from tests.support.plans import plan
from tests.support.results import SESSION


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_the_time_left_is_that_until_the_end(tmp_path, heard, monkeypatch, share):
    """Whatever was before this session, and whatever share of the time counts as the run's own."""
    now = 0.0
    monkeypatch.setattr(log.time, "perf_counter", lambda: now)
    row = next(
        row for row in plan("quickstart", f"results={tmp_path}").rows if row.name == "ResNet-8"
    )
    record = Record(tmp_path / "run")
    record.folder.mkdir()
    record.add_session(SESSION)
    with log.Log(row.run(0), record, 100, 7000.0, lambda: share * now) as lines:
        now = 20.0
        lines.test(300, "single_view", {"num_errors": 5, "num_images": 50})
    assert "iteration 300 of 500, test error 10.00 %, 20 s left" in heard.text


@pytest.mark.parametrize(("share", "expected"), [(1.0, None), (0.2, 50.0)])
def test_a_run_beside_others_has_both_speeds(tmp_path, monkeypatch, share, expected):
    """That of its computation, for estimates, and that of its progress, for the time left."""
    now = 0.0
    monkeypatch.setattr(log.time, "perf_counter", lambda: now)
    row = next(
        row for row in plan("quickstart", f"results={tmp_path}").rows if row.name == "ResNet-8"
    )
    run = row.run(0)
    record = Record(run_folder(run, tmp_path))
    record.folder.mkdir(parents=True)
    record.add_session(SESSION)
    with record.locked(), log.Log(run, record, 0, 0.0, lambda: share * now) as lines:
        now = 10.0
        lines.step(500)
        with lines.testing():
            now = 15.0
        lines.train(10, 1000.0, 5, 500, 0.1)
        (event,) = record.events()
        assert event["images_per_second"] == 50.0 / share
        assert event.get(WALL_SPEED) == expected
        made = plan("quickstart", f"results={tmp_path}")
        assert run_status(made, run).images_per_second == 50.0
        assert run_status(made, run).seconds_left == (500 - 10) * 64 / 50.0
    assert rate_text(0.4712) == "0.47 images/s"
