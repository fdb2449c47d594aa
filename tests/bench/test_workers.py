"""Loops in processes of their own."""

from contextlib import closing

import pytest
import torch

from resnet_repro.bench.workers import Workers
from tests.support.loops import endless
from tests.support.training import CPU


def test_loops_in_processes_of_their_own():
    """Each does what is asked of it; one that lacks memory, or dies, is not waited for."""
    both = Workers(endless, [(), (torch.OutOfMemoryError("12 GiB"), 4)], CPU)
    with closing(both):
        both.iterate(3)
        both.iterate(1)
        with pytest.raises(torch.OutOfMemoryError, match="12 GiB"):
            both.iterate(1)
        with pytest.raises(EOFError):  # a loop that has failed has no next iteration
            both.iterate(1)
