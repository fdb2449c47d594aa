"""Several runs of a row as one number, as the paper counts."""

import math

import pytest

from resnet_repro.judge.statistics import aggregate
from resnet_repro.settings.experiment import PaperValues

BEST_OF_5 = PaperValues(error=6.43, statistic="best_of_5", mean=6.61, std=0.16)


def test_a_single_run_is_compared_with_a_single_run():
    cell = aggregate([8.9], PaperValues(error=8.75))
    assert (cell.mean, cell.std, cell.value) == (8.9, None, None)
    assert cell.difference == pytest.approx(0.15)


def test_best_of_five_needs_five_and_fewer_are_compared_with_the_mean():
    five = aggregate([6.7, 6.5, 6.6, 6.8, 6.9], BEST_OF_5)
    assert (five.value, five.mean, five.compared) == (6.5, pytest.approx(6.7), "best of 5")
    assert five.std == pytest.approx(0.1581, abs=1e-4)
    assert five.difference == pytest.approx(0.07)
    three = aggregate([6.7, 6.5, 6.6], BEST_OF_5)
    assert (three.value, three.compared) == (None, "mean")
    assert three.difference == pytest.approx(6.6 - 6.61)


def test_a_sixth_seed_does_not_make_the_best_of_five_better():
    assert aggregate([6.7, 6.5, 6.6, 6.8, 6.9, 6.0], BEST_OF_5).value == 6.5


def test_median_and_mean_of_several():
    median = aggregate([5.0, 7.0, 6.0], PaperValues(error=6.5, statistic="median_of_3"))
    assert (median.value, median.difference) == (6.0, pytest.approx(-0.5))
    mean = aggregate([5.0, 7.0], PaperValues(error=6.5, statistic="mean_of_2"))
    assert (mean.value, mean.mean, mean.compared) == (None, 6.0, "")
    assert mean.difference == pytest.approx(-0.5)
    more = aggregate([5.0, 7.0, 6.6], PaperValues(error=6.5, statistic="mean_of_2"))
    assert (more.mean, more.difference) == (pytest.approx(6.2), pytest.approx(-0.3))


def test_a_run_that_failed_counts_as_the_worst():
    """In a median and a best; where it leaves no mean, nothing is compared."""
    median = PaperValues(error=6.5, statistic="median_of_5")
    two = aggregate([5.0, math.inf, 7.0, 6.0, math.inf], median)
    assert (two.value, two.mean, two.num_runs) == (7.0, 6.0, 3)
    assert two.difference == pytest.approx(0.5)
    three = aggregate([5.0, math.inf, math.inf, 6.0, math.inf], median)
    assert (three.value, three.difference) == (None, None)
    early = aggregate([math.inf, 5.0, 7.0, 6.0, 6.0, 6.0], median)  # the first five count
    assert early.value == 6.0
    assert aggregate([6.7, 6.5, math.inf, 6.8, 6.9], BEST_OF_5).value == 6.5
    mean = aggregate([5.0, math.inf], PaperValues(error=6.5, statistic="mean_of_2"))
    assert (mean.value, mean.difference) == (None, None)


def test_a_best_without_its_mean_is_compared_with_nothing_from_fewer_runs():
    assert aggregate([7.0], PaperValues(error=6.5, statistic="best_of_5")).difference is None
