"""Streams: few, as torch has few."""

from collections import defaultdict
from contextlib import closing, nullcontext

import pytest
import torch

from resnet_repro.engine import streams
from resnet_repro.engine.interleave import interleave
from resnet_repro.engine.streams import capture_stream
from tests.support.loops import endless

GPU = torch.device("cuda:0")


@pytest.fixture
def made(monkeypatch):
    """Stand in for CUDA's streams; return those that were made."""
    made = []

    class Stream:
        device_index = 0

        def __init__(self, index):
            made.append(self)

    monkeypatch.setattr(streams, "_free", defaultdict(list))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: "default")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "default")
    return made


def test_loops_that_end_give_their_streams_to_the_next(made):
    """The 33rd of torch's streams is the first again, which may be in use."""
    for failure in (None, ZeroDivisionError("ours")) * 20:
        with closing(interleave([endless(), endless(failure, after=1)], GPU)) as loop:
            next(loop)
            if failure:
                with pytest.raises(ZeroDivisionError):
                    next(loop)
    assert len(made) == 2


def test_graphs_are_captured_on_the_runs_own_stream_or_on_a_borrowed_one(made, monkeypatch):
    with capture_stream(GPU, False) as stream:
        assert stream is None
    for _ in range(3):
        with capture_stream(GPU, True) as stream:
            assert made == [stream]
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "of the run")
    with capture_stream(GPU, True) as stream:
        assert stream == "of the run"
    assert len(made) == 1
