"""Work grows as the number of runs does."""

import os
import sys
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

import resnet_repro
from resnet_repro.settings.run import RunConfig
from tests.support.experiments import QUICKSTART
from tests.support.plans import plan
from tests.support.results import record_run

pytestmark = pytest.mark.usefixtures("fast_networks")


@pytest.mark.pictures
@pytest.mark.parametrize("verb", [("status",), ("plan", "budget=2h"), ("table",), ("explain",)])
def test_twice_the_runs_take_twice_the_work(run_cli, tmp_path, monkeypatch, verb):
    """Not more: counted are digests and readings of the folder of all runs, half of them there."""
    counts = {"digests": 0, "listings": 0}

    def counting(function, name):
        def counted(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return counted

    monkeypatch.setattr(RunConfig, "identity", counting(RunConfig.identity, "digests"))
    monkeypatch.setattr(Path, "iterdir", counting(Path.iterdir, "listings"))
    spent = []
    for number in (4, 8):
        seeds = f"seeds=[{','.join(map(str, range(number)))}]"
        root = tmp_path / f"of{number}"
        made = plan("quickstart", f"results={root}", seeds)
        for run in made.runs[::2]:
            record_run(made, run, 9.0)
        os.utime(root / "runs", (1e9, 1e9))  # long ago: changes in the same instant are past
        counts.update(digests=0, listings=0)
        assert run_cli(*verb, QUICKSTART, seeds, f"results={root}").code == 0
        spent.append(dict(counts))
    for once, twice in pairwise(spent):
        assert twice["digests"] <= 2 * once["digests"]
        assert twice["listings"] <= once["listings"] + 2


@contextmanager
def calls_counted():
    """Count the calls of our functions, and the steps of our generators, in this thread."""
    package, counted = str(Path(resnet_repro.__file__).parent), [0]

    def count(frame, event, _):
        counted[0] += event == "call" and frame.f_code.co_filename.startswith(package)

    sys.setprofile(count)
    try:
        yield counted
    finally:
        sys.setprofile(None)


@pytest.mark.slow
def test_twice_the_values_of_a_sweep_take_twice_the_calls(run_cli, tmp_path):
    """From one number of values to the next: what every command does drops out."""
    spent = {"table": [], "explain": []}
    for number in (10, 20, 40):
        values = ",".join(str(each / 1000) for each in range(number, 0, -1))
        asked = ["row=ResNet-8", f"results={tmp_path / str(number)}"]
        made = plan("quickstart", *asked, f"sweep.grid=['recipe.lr={values}']")
        for run in made.runs:
            record_run(made, run, 9.0)
        for verb, counts in spent.items():
            with calls_counted() as counted:
                assert run_cli(verb, QUICKSTART, f"recipe.lr={values}", *asked).code == 0
            counts.append(counted[0])
    for verb, counts in spent.items():
        first, second = (after - before for before, after in pairwise(counts))
        assert second < 2.3 * first, verb
