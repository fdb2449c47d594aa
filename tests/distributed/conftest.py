"""What tests of several processes share: a process group that ends with the test."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.support.paths import ROOT
from tests.support.runs import SMALL


@pytest.fixture
def start(tmp_path):
    """Start the command line as a process group of its own; what is left of it ends with us."""
    started = []

    def call(*words, launcher=()):
        threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, *launcher, "-m", "resnet_repro", *SMALL, *words],
            cwd=tmp_path,
            env={**os.environ, **threads},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
