"""Work of several processes that train detectors, which they import by its name."""

from resnet_repro.engine.detection import proposals
from resnet_repro.engine.signals import Stop
from resnet_repro.errors import StoppedRun
from tests.support.detection_runs import StopAfter, train


def train_detectors(runs, results, again, group):
    """Train detectors, and once more: stopped while proposals are made, by the last process."""
    for run in runs:
        train(run, results, group=group)
    proposals.PART = 2  # each process makes several parts
    for run in runs:
        if run.config.detector.step == "joint":
            continue
        if run.config.detector.step == "regions":
            stop = StopAfter(4) if group.rank == group.size - 1 else Stop()
            try:
                train(run, again, stop, group)
                raise AssertionError("it was not stopped")
            except StoppedRun as error:
                assert "proposals" in str(error)
        train(run, again, group=group)
