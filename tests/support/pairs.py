"""Work of several processes that train one network, which they import by its name."""

from dataclasses import replace

from resnet_repro.engine.signals import Stop
from resnet_repro.engine.train import train_stepwise
from resnet_repro.errors import StoppedRun


def in_order(jobs, group):
    """Do several jobs: to start a process takes longer than most of them."""
    for work, *arguments in jobs:
        work(*arguments, group)


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
