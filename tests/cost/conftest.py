"""What tests of costs share: a machine whose speed is known."""

from types import SimpleNamespace

import pytest

from resnet_repro.cost import calibration
from tests.support.costs import Machine


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(calibration, "images_per_second", made.images_per_second)
    monkeypatch.setattr(calibration, "Watch", lambda: made)
    monkeypatch.setattr(calibration, "is_crowded", lambda busy, threads: busy > 0)
    monkeypatch.setattr(calibration, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def timed(machine, monkeypatch):
    """Return the depths and shortcuts timed, once each."""
    monkeypatch.setattr(calibration, "ROUNDS", 1)
    return machine.timed
