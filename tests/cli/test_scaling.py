"""Work grows as the number of runs does."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from resnet_repro.settings.run import RunConfig
from tests.support.experiments import QUICKSTART
from tests.support.plans import plan
from tests.support.results import record_run

pytestmark = pytest.mark.usefixtures("fast_networks")


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
    for number in (20, 40):
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
        assert twice["digests"] < 2.5 * once["digests"]
        assert twice["listings"] <= once["listings"] + 2
