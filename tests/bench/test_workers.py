"""Loops in processes of their own."""

from contextlib import closing
from multiprocessing import get_context

import pytest
import torch

from resnet_repro.bench import workers
from resnet_repro.bench.workers import Workers
from tests.support.loops import endless
from tests.support.training import CPU


def test_loops_in_processes_of_their_own(monkeypatch):
    """Each does what is asked of it; one that lacks memory, or dies, is not waited for.

    They are forked, as they compute nothing, and would import torch for seconds.
    """
    monkeypatch.setattr(workers, "get_context", lambda method: get_context("fork"))
    both = Workers(endless, [(), (torch.OutOfMemoryError("12 GiB"), 4)], CPU)
    with closing(both):
        both.iterate(3)
        both.iterate(1)
        with pytest.raises(torch.OutOfMemoryError, match="12 GiB"):
            both.iterate(1)
        with pytest.raises(EOFError):  # a loop that has failed has no next iteration
            both.iterate(1)
