"""Reading of photographs for detectors."""

import threading

import pytest
import torch

from resnet_repro.data import Inputs
from resnet_repro.detection.feed import SceneFeed
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.errors import shortage
from tests.support.detection_runs import settings
from tests.support.training import CPU

GREY = Inputs(torch.full((3, 1, 1), 0.45), torch.full((3, 1, 1), 0.2))


def test_a_disk_that_does_not_answer_ends_the_reading(squares, monkeypatch):
    config, answers = settings(squares), threading.Event()
    feed = SceneFeed(load_scenes(config.data), config, SINGLE_PROCESS, CPU, GREY)
    monkeypatch.setattr("resnet_repro.detection.feed.STALL_SECONDS", 0.1)
    monkeypatch.setattr("resnet_repro.detection.feed._read", lambda scene: answers.wait())
    try:
        with pytest.raises(RuntimeError) as raised:
            list(feed.pixels(feed.data.test, range(2)))
    finally:
        answers.set()
    assert shortage(raised.value).startswith("no image was read for minutes: the disk")
