"""The record of a run: one process at a time, and whole after a crash."""

import errno
import fcntl
import os
import time
from multiprocessing import get_context

import numpy as np
import pytest

from resnet_repro import files
from resnet_repro.data.decode import UnreadableImage
from resnet_repro.data.photos import Photos, read
from resnet_repro.engine import checkpoint
from resnet_repro.errors import UserError
from resnet_repro.records import Record, locks
from resnet_repro.records.errors import LockedError
from tests.support.runs import PATIENCE, SMALL, changed
from tests.support.training import train


def test_a_torn_line_does_not_damage_the_record(tmp_path):
    record = Record(tmp_path)
    record.append("test", 3, protocol="single_view", num_errors=1, num_images=2)
    path = tmp_path / "record.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event": "te')
    record.append("error", 3, reason="out of memory")
    assert [event["event"] for event in record.events()] == ["test", "error"]


def test_a_checkpoint_is_never_ahead_of_its_record_and_few_lines_are_waited_for(
    config, tmp_path, monkeypatch
):
    """A disk may take as long for one line as a GPU for many iterations."""
    path = tmp_path / "record.jsonl"
    on_disk, num_checked, real = [0], 0, (os.fsync, checkpoint.save)

    def fsync(descriptor):
        real[0](descriptor)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            on_disk.append(path.stat().st_size)

    def save(*args):
        nonlocal num_checked
        num_checked += 1
        assert on_disk[-1] == path.stat().st_size
        real[1](*args)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(checkpoint, "save", save)
    compute = {"log_every": 1, "save_minutes": 1e9}
    config = changed(config, compute=compute, evaluation={"every": 6})
    events = train(config, tmp_path)
    assert [event["event"] for event in events] == ["train"] * 6 + ["test", "finished"]
    assert num_checked == 1
    assert len(on_disk) - 1 == 3  # at the test, at the checkpoint, and at the end


def test_what_was_measured_after_the_last_checkpoint_is_still_to_do(tmp_path):
    record, counts = Record(tmp_path), {"num_errors": 1, "num_images": 2}
    record.append("train", 150, **counts, loss=1.0, lr=0.1, images_per_second=1.0)
    assert record.iteration() == 0
    record.note_saved(81)
    assert record.iteration() == 81
    with record.locked():
        assert record.iteration() == 150
    record.append("finished", 300, seconds=1.0, weights="ab")
    assert record.iteration() == 300


def test_a_last_line_longer_than_the_others_together_is_read(tmp_path):
    record = Record(tmp_path)
    for iteration in range(500):
        values = {"num_errors": 1, "num_images": 2, "loss": 1.0, "lr": 0.1}
        record.append("train", iteration, **values, images_per_second=1.0)
    record.append("error", 499, reason="x" * 50_000)
    assert record.last()["event"] == "error"
    assert record.state() == "failed"


def test_two_processes_do_not_train_one_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "ATTEMPTS", 1)
    with Record(tmp_path).locked(), pytest.raises(LockedError):
        train(config, tmp_path)
    assert not Record(tmp_path).is_running()


def test_readers_of_another_run_do_not_hold_the_lock_of_one_that_has_ended(tmp_path):
    with Record(tmp_path).locked():
        process = get_context("fork").Process(target=time.sleep, args=(PATIENCE,))
        process.start()
        assert Record(tmp_path).is_running()
    try:
        assert not Record(tmp_path).is_running()
    finally:
        process.kill()
        process.join()


def test_a_file_system_without_locks_costs_a_word(run_cli, monkeypatch, tmp_path):
    answer = errno.ENOLCK

    def flock(*_):
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(files, "_without_locks", set())
    words = (*SMALL, "recipe.iterations=1", "recipe.lr_drops=[]")
    outcome = run_cli(*words, "seeds=[0,1]")
    assert outcome.code == 0
    assert outcome.err.count("start each run only once") == 1
    assert "done" in run_cli("status", *words).out
    for answer in (errno.ENOSYS, errno.EOPNOTSUPP):  # noqa: B007 - `flock` reads it
        with Record(tmp_path / "run").locked():
            assert not Record(tmp_path / "run").is_running()


def test_a_named_pipe_is_refused_where_a_file_is_wanted(run_cli, tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    outcome = run_cli("import", f"weights={pipe}")
    assert outcome.code == 1
    assert f"{pipe}: that is not a file" in outcome.err
    assert run_cli("table", *SMALL, f"results={pipe}").code == 1
    photos = Photos(tmp_path, np.array([b"pipe.jpg"]), np.array([0]))
    with pytest.raises(UnreadableImage, match="there is no such file"):
        read(photos, 0)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("lock", "record.jsonl"):
        os.mkfifo(run / name)
    with pytest.raises(UserError, match="lock is a named pipe"), Record(run).locked():
        pass
    with pytest.raises(OSError, match="not a regular file"):
        Record(run).append("warmup_end", 1, train_error=50.0)


def test_what_cannot_be_is_not_written(tmp_path):
    record = Record(tmp_path)
    with pytest.raises(ValueError, match="num_errors is -300: it must be a whole number"):
        record.add_evaluation("single_view", num_errors=-300, num_images=10)
    with pytest.raises(ValueError, match="loss is nan"):
        record.append("train", 1, num_errors=1, num_images=2, loss=float("nan"), lr=1.0)
    assert not list(tmp_path.iterdir())
