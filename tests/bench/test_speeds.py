"""Sweeps over settings that change the speed of a run and not its result."""

import json

import pytest

from resnet_repro.bench import rounds, speeds, variants
from resnet_repro.bench.rounds import Timing
from tests.support.runs import SMALL


@pytest.fixture
def timed(monkeypatch):
    """Have runs of one thread take 2 ms an iteration, others 1 ms, by no clock."""
    made = []

    def workers(make, arguments, device):
        made.append([each[0].compute for each in arguments])
        return type("Loop", (), {"close": lambda self: None})()

    def time_loops(loops, device):
        seconds = [0.002 if computes[0].threads == 1 else 0.001 for computes in made[-len(loops) :]]
        return {
            name: Timing(each, 0.9 * each, 1.1 * each, 1.0)
            for name, each in zip(loops, seconds, strict=True)
        }

    monkeypatch.setattr(variants, "Workers", workers)
    monkeypatch.setattr(speeds, "time_loops", time_loops)
    monkeypatch.setattr(rounds, "ROUNDS", 1)
    return made


@pytest.mark.parametrize("verb", ["run", "bench"])
def test_speeds_are_compared_and_nothing_is_trained(run_cli, timed, tmp_path, verb):
    outcome = run_cli(verb, *SMALL, "compute.threads=1,2", "format=json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    first, second = found["lines"]
    assert (first["values"], first["verdict"]) == ({"compute.threads": 1}, "baseline")
    assert first["images_per_second"] == pytest.approx(16 / 0.002)
    assert (second["times_baseline"], second["verdict"]) == (pytest.approx(2.0), "faster")
    assert not (tmp_path / "results/runs").exists()
    text = run_cli(verb, *SMALL, "compute.threads=1,2")
    assert "changes the speed of a run and not its result" in text.out


def test_the_baseline_is_the_one_that_is_asked_for(run_cli, timed):
    outcome = run_cli(*SMALL, "compute.threads=1,2", "baseline=2", "format=json")
    assert [each["verdict"] for each in json.loads(outcome.out)["lines"]] == ["slower", "baseline"]


def test_other_verbs_and_mixed_settings_are_refused(run_cli):
    for verb in ("plan", "status", "table", "submit"):
        outcome = run_cli(verb, *SMALL, "compute.threads=1,2")
        assert outcome.code == 1 and "changes how fast a run is, not its result" in outcome.err
    mixed = run_cli(*SMALL, "compute.threads=1,2", "recipe.lr=0.1,0.2")
    assert mixed.code == 1 and "sweep over one of them at a time" in mixed.err
