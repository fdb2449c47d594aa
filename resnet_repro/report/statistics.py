"""From the errors of several seeds to the one number that a paper prints."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_repro.experiment import PaperValues


@dataclass(frozen=True)
class Cell:
    """A row's test error over its seeds, %.

    Attributes:
        num_runs: Runs behind it.
        mean: Of them.
        std: Of them, with n - 1; None for one run.
        value: By the paper's statistic, when there are as many runs as it takes; else None.
        difference: Ours less the paper's, comparing like with like; None where nothing compares.
        compared: What `difference` is between, where that is not simply the two numbers printed.
    """

    num_runs: int
    mean: float
    std: float | None
    value: float | None
    difference: float | None
    compared: str


def aggregate(errors: Sequence[float], paper: PaperValues) -> Cell:
    """Aggregate as the paper does, and compare with what it prints.

    A best or a median is compared with the paper's once there are as many runs as behind the
    paper's (the first so many seeds, where there are more). With fewer, our mean is compared with
    the paper's mean, never with its best: a best of five is low because there were five.

    Args:
        errors: Test errors in the order of the seeds, %; at least one.
        paper: The row's printed values.
    """
    mean = statistics.fmean(errors)
    std = statistics.stdev(errors) if len(errors) > 1 else None
    kind, wanted = paper.statistic.split("_of_")[0], paper.num_runs
    enough = len(errors) >= wanted
    value = _by_statistic(kind, errors[:wanted]) if enough and kind != "single" else None
    if value is not None and paper.error is not None:
        ours, theirs, compared = value, paper.error, paper.statistic.replace("_", " ")
    elif paper.mean is not None:
        ours, theirs, compared = mean, paper.mean, "mean"
    elif paper.error is not None and kind != "best":
        ours, theirs, compared = mean, paper.error, "" if kind == "single" else "mean"
    else:
        return Cell(len(errors), mean, std, value, None, "")
    return Cell(len(errors), mean, std, value, ours - theirs, compared)


def _by_statistic(kind: str, errors: Sequence[float]) -> float:
    if kind == "best":
        return min(errors)
    return statistics.median(errors) if kind == "median" else statistics.fmean(errors)
