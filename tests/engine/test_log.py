"""The lines of a run in training."""

import pytest

from resnet_repro.engine import log
from resnet_repro.records import Record
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
