"""Loops that take turns share one clock."""

from resnet_repro.engine.interleave import SharedClock


def test_the_parts_of_a_shared_clock_add_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("resnet_repro.engine.interleave.time.perf_counter", lambda: now[0])
    clock = SharedClock()
    clock.divide_by(3)
    now[0] = 6.0
    assert clock() == 2.0
    clock.divide_by(1)
    now[0] = 7.0
    assert clock() == 3.0
