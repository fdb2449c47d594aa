"""The command line in processes of its own, and what they are waited for."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.runs import PATIENCE

LONG = ("recipe.iterations=100000", "evaluation.every=100000", "compute.log_every=1")


def spawn(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_repro", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_it_trains(tmp_path, process):
    def measured():
        records = list(tmp_path.glob("results/runs/*/record.jsonl"))
        return records[0].read_text().count('"train"') if records else 0

    before, deadline = measured(), time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if measured() > before:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


def pair_of(process):
    """Return the two processes that a process started."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not path.is_file():
        pytest.skip("no /proc tells which processes a process started")
    found = [int(pid) for pid in path.read_text().split()]
    pair = [p for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
    assert len(pair) == 2
    return pair


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


def wait(done, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
