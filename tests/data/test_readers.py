"""Processes that read photographs."""

import errno
import multiprocessing
import os
import signal
import sys
import time
from contextlib import closing
from dataclasses import replace
from multiprocessing.context import ForkProcess

import pytest
import torch
from torch.utils.data import Dataset

from resnet_repro.data import readers
from resnet_repro.data.readers import Batch, load
from resnet_repro.distributed.group import Group
from resnet_repro.errors import shortage
from tests.support.photos import feed_of
from tests.support.processes import is_alive, wait
from tests.support.runs import PATIENCE


def test_workers_hand_over_what_one_process_reads(settings):
    """Mini-batches do not depend on who reads them, nor on where training began."""
    alone = list(feed_of(settings).train(0, 5))
    two = replace(settings, compute=replace(settings.compute, workers=2))
    later = list(feed_of(two).train(3, 5))
    for (ours, labels), (theirs, expected) in zip(later, alone[3:], strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(labels, expected)
    assert alone[0][0].shape == (16, 3, 32, 32)


def test_no_worker_is_left_when_reading_is_given_up(settings):
    """Nor when the error keeps hold of everything that read."""
    feed = feed_of(replace(settings, compute=replace(settings.compute, workers=2)))
    try:
        with closing(feed.train(0, 1000)) as batches:
            for _ in batches:
                assert len(multiprocessing.active_children()) == 2
                raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        kept = error  # with its traceback, and so the frames
        deadline = time.monotonic() + PATIENCE
        while multiprocessing.active_children() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not multiprocessing.active_children()
    assert kept


FORKED = pytest.mark.skipif(
    sys.platform != "linux", reason="readers see what a test patches where they are forked"
)


# torch's iterator, half made, fails when it is freed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@FORKED
def test_no_worker_is_left_when_another_cannot_start(monkeypatch):
    real, started = ForkProcess._Popen, []

    def start(process):
        if started:
            time.sleep(0.5)  # by then the first one ignores the signals
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(real(process))
        return started[-1]

    monkeypatch.setattr(ForkProcess, "_Popen", staticmethod(start))
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    with pytest.raises(BlockingIOError):
        next(load(Numbered(), [0, 1, 2], 2, pin=False))
    wait(lambda: not multiprocessing.active_children())
    assert len(started) == 1


def test_two_processes_see_the_images_of_one(settings):
    whole = feed_of(settings)
    halves = [feed_of(settings, group=Group(rank, 2), inputs=whole.inputs) for rank in (0, 1)]
    for batch, *parts in zip(*(feed.train(0, 4) for feed in (whole, *halves)), strict=True):
        torch.testing.assert_close(torch.cat([images for images, _ in parts]), batch[0])
        assert torch.equal(torch.cat([labels for _, labels in parts]), batch[1])
    positions = [sum(len(p) for p, _ in feed.test(settings.evaluation)) for feed in halves]
    assert positions == [6, 6]
    assert sorted(torch.cat([feed.test_labels for feed in halves]).tolist()) == sorted(
        whole.test_labels.tolist()
    )


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def stall():
    time.sleep(1000)


class Numbered(Dataset):
    """Batches of a number each; a reader of number 2 does what it is told to."""

    def __init__(self, act=None):
        self.act = act

    def __getitem__(self, number):
        if number == 2 and self.act:
            self.act()
        full = torch.full((2, 3, 8, 8), number, dtype=torch.uint8)
        return Batch(full, torch.tensor([number, 0]), torch.empty(0), [str(number)])


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(readers.logger, "warning", lambda text, *words: lines.append(text % words))
    readers._warn_of_small_shared_memory.cache_clear()
    yield lines
    readers._warn_of_small_shared_memory.cache_clear()


@FORKED
@pytest.mark.parametrize("short_of", ["nothing", "room", "files"])
def test_readers_hand_over_the_same_without_shared_memory(monkeypatch, said, short_of):
    def fails(_):
        raise RuntimeError("unable to open shared memory object: Too many open files (24)")

    if short_of == "room":
        monkeypatch.setattr(readers, "LEFT_FREE", 1 << 60)
    if short_of == "files":
        monkeypatch.setattr(torch.Tensor, "share_memory_", fails)
    loaded = list(load(Numbered(), range(5), 2, pin=False))
    assert [batch.unreadable for batch in loaded] == [["0"], ["1"], ["2"], ["3"], ["4"]]
    for number, batch in enumerate(loaded):
        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.eq(number).all()
        assert batch.numbers.tolist() == [number, 0]
    assert len(said) == (short_of != "nothing")
    assert all("--shm-size" in line for line in said)


def test_a_reader_that_dies_or_stalls_ends_the_loading(monkeypatch):
    monkeypatch.setattr(readers, "STALL_SECONDS", 1)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    for act, words in ((die, "was killed"), (stall, "does not respond")):
        with pytest.raises(RuntimeError) as caught:
            list(load(Numbered(act), range(5), 2, pin=False))
        assert words in shortage(caught.value)


def test_reading_draws_no_number_that_a_network_may_draw():
    """Dropout draws from torch's own generator, also in the first iteration of a session."""
    before = torch.get_rng_state()
    assert len(list(load(Numbered(), range(3), 2, pin=False))) == 3
    assert torch.equal(torch.get_rng_state(), before)


def read_and_be_killed(pids):
    with closing(load(Numbered(stall), range(9), 2, pin=False)) as batches:
        next(batches)
        pids.put([each.pid for each in multiprocessing.active_children()])
        for _ in batches:
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of that")
def test_readers_end_with_a_process_that_is_killed():
    """They hold the lock of its run, and may be waiting for a disk."""
    context = multiprocessing.get_context("fork")
    pids = context.SimpleQueue()
    process = context.Process(target=read_and_be_killed, args=(pids,))
    process.start()
    readers = pids.get()
    assert len(readers) == 2
    process.kill()
    process.join()
    wait(lambda: not any(map(is_alive, readers)))


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), EOFError(),
                                   FileNotFoundError(2, "no such socket")])  # fmt: skip
def test_a_reader_that_dies_while_it_passes_on_a_batch_is_said_to_have_died(monkeypatch, error):
    def announced(*_, **__):
        raise error
        yield

    monkeypatch.setattr(readers, "DataLoader", announced)
    with pytest.raises(RuntimeError) as caught:
        list(load(Numbered(), range(5), 2, pin=False))
    assert "was killed" in shortage(caught.value)
