"""Work of several processes that train one network, which they import by its name."""

from dataclasses import replace

from resnet_repro.engine.signals import Stop
from resnet_repro.engine.train import train_stepwise
from resnet_repro.errors import StoppedRun
from tests.support.networks import draws_numbers


def in_order(jobs, group):
    """Do several jobs: to start a process takes longer than most of them."""
    for work, *arguments in jobs:
        work(*arguments, group)


def check_network(config, folder, group):
    """Check a network of a plugin's, which the process that started this one had loaded."""
    (folder / f"draws-{group.rank}").write_text(str(draws_numbers(config)))


def train_whole_and_broken(run, folder, group):
    """Train a run, and once more: often saved, stopped by the last process alone, and resumed."""
    for _ in train_stepwise(run, folder / "whole", group, Stop()):
        pass
    config = replace(run.config, compute=replace(run.config.compute, save_minutes=0.0))
    run, stop = replace(run, config=config), Stop()
    steps = train_stepwise(run, folder / "broken", group, stop)
    try:
        for number, _ in enumerate(steps, start=1):
            stop.came = group.rank == group.size - 1 and number > 3
        raise AssertionError("it was not stopped")
    except StoppedRun:
        pass
    for _ in train_stepwise(run, folder / "broken", group, Stop()):
        pass
