"""What tests of documents share: networks that are timed in no time."""

import pytest

from resnet_repro.cost import calibration
from resnet_repro.models.complexity import measure


@pytest.fixture
def fast_networks(monkeypatch):
    """Have the networks timed on a machine of 1e9 multiply-adds per second, in no time."""
    monkeypatch.setattr(
        calibration, "images_per_second", lambda config: 1e9 / measure(config).multiply_adds
    )
