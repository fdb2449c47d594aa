"""Intervals and verdicts: on simulated tables, whose truth is known, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from resnet_repro.judge.measures import MEASURES
from resnet_repro.judge.spread import Spread, TableSpread, pool, spread_between
from resnet_repro.judge.statistics import (
    against_paper,
    aggregate,
    between,
    order_statistic,
    power,
    reference,
    seeds_to_decide,
    seeds_to_tell,
)
from resnet_repro.judge.verdicts import judge, spread_of
from resnet_repro.settings.experiment import PaperValues
from tests.support.results import SIGMA

SIMULATIONS = 1500
STATISTICS = {
    "single": lambda runs: runs[0],
    "best_of_5": min,
    "median_of_5": np.median,
    "mean_of_10": np.mean,
}


def by_run(values):
    return {str(run): value for run, value in enumerate(values)}


def judged(values, num_failed, paper, spread, *others):
    table = TableSpread(printed=(spread,) if spread else ())
    return judge(by_run(values), num_failed, paper, table, *others)


def simulate(statistic, num_runs, difference, *, spread=None, margin=0.5, number=SIMULATIONS):
    """Return how often each verdict falls where our expected error is `difference` worse."""
    random = np.random.default_rng(0)
    words = []
    for _ in range(number):
        theirs = random.normal(7.0, SIGMA, 10 if "10" in statistic else 5)
        ours = random.normal(7.0 + difference, SIGMA, num_runs)
        paper = PaperValues(error=float(STATISTICS[statistic](theirs)), statistic=statistic)
        words.append(judged(list(ours), 0, paper, spread and spread(random), margin).word)
    return {word: words.count(word) / number for word in set(words)}


@pytest.mark.parametrize("statistic", STATISTICS)
def test_without_a_difference_it_cries_wolf_in_one_case_of_twenty_at_most(statistic):
    found = simulate(statistic, 5, 0.0)
    wolves = found.get("better", 0) + found.get("worse", 0)
    assert wolves <= 0.05 + 3 * (0.05 * 0.95 / SIMULATIONS) ** 0.5
    if statistic == "single":  # and not for lack of trying
        assert wolves > 0.03


@pytest.mark.parametrize("statistic", STATISTICS)
def test_it_tells_half_a_point_at_the_power_it_states(statistic):
    paper = PaperValues(error=7.0, statistic=statistic)
    stated = power(0.5, 5, reference(paper), Spread(SIGMA, 4))
    found = simulate(statistic, 5, 0.5).get("worse", 0)
    # A best is not normal: its power is stated to a few hundredths.
    assert found == pytest.approx(stated, abs=0.06 if statistic == "best_of_5" else 0.04)


def test_where_higher_is_better_the_best_is_the_highest_and_above_is_better():
    paper = PaperValues(error=27.2, statistic="best_of_5")
    values = [26.8, 26.9, 27.0, 27.1, 27.3]
    assert aggregate(values, paper, lower_is_better=False).value == 27.3
    assert aggregate([*values[:4], -np.inf], paper, lower_is_better=False).value == 27.1
    bias = reference(paper, lower_is_better=False).bias
    assert bias == pytest.approx(-reference(paper).bias)
    assert bias > 1
    printed = PaperValues(error=27.2)
    spread = Spread(0.1, 20)
    words = {
        value: [judged([value] * 3, 0, printed, spread, 0.5, MEASURES[key]).word
                for key in ("map", "test")]
        for value in (25.2, 27.2, 29.2)
    }  # fmt: skip
    assert words == {
        25.2: ["worse", "better"], 27.2: ["matches", "matches"], 29.2: ["better", "worse"]
    }  # fmt: skip


def test_single_seeds_borrow_the_spread_of_the_table():
    def of_the_table(random):
        return pool([random.normal(6.0, SIGMA, 5)])

    found = simulate("single", 1, 0.0, spread=of_the_table)
    assert found.get("better", 0) + found.get("worse", 0) <= 0.067
    assert simulate("single", 1, 1.5, spread=of_the_table, number=300)["worse"] > 0.8


def test_matches_takes_evidence():
    """Ten seeds against a mean of ten match; one seed with nothing against it does not."""
    assert simulate("mean_of_10", 10, 0.0, number=300)["matches"] > 0.95
    assert simulate("mean_of_10", 10, 0.5, number=300).get("matches", 0) < 0.05
    assert judged([7.0], 0, PaperValues(error=7.0), None, 0.5).word == "undecided"
    assert judged([7.0], 0, PaperValues(error=7.0), Spread(0.2, 4), 0.5).word == "undecided"


def test_a_row_with_the_papers_mean_is_students_test_of_two_groups():
    paper = PaperValues(error=6.43, statistic="best_of_5", mean=6.61, std=0.16)
    ours = [6.7, 6.5, 6.6, 6.8, 6.9]
    verdict = judged(ours, 0, paper, None, 0.5)
    test = stats.ttest_ind_from_stats(np.mean(ours), np.std(ours, ddof=1), 5, 6.61, 0.16, 5)
    half = stats.t.ppf(0.975, 8) * 0.09 / test.statistic
    assert verdict.interval.difference == pytest.approx(0.09)
    assert verdict.interval.high - 0.09 == pytest.approx(half)
    assert verdict.word == "matches"


def test_order_statistics_are_the_tables():
    """Harter (1961): the least of five normal draws, and the middle one."""
    assert order_statistic(1, 5) == pytest.approx((-1.16296, 0.44753), abs=1e-5)
    assert order_statistic(3, 5) == pytest.approx((0, 0.28683), abs=1e-5)


def test_the_number_of_seeds_that_would_decide_does():
    paper, spread = reference(PaperValues(error=7.0, statistic="mean_of_5")), Spread(0.2, 4)
    needed = seeds_to_decide(7.3, 3, paper, spread, 0.5)

    def decided(number):
        interval = against_paper(7.3, number, paper, Spread(0.2, 4 + number - 3))
        return interval.excludes_zero or interval.within(0.5)

    assert decided(needed) and not decided(needed - 1)
    single = reference(PaperValues(error=7.0))  # one draw of theirs: uncertain by 0.4, whatever n
    assert seeds_to_decide(7.3, 3, single, spread, 0.5) is None


def test_failing_is_judged_by_counting():
    fails = PaperValues(fail=True)
    assert judged([], 5, fails, None, 0.5).word == "matches"
    assert judged([9.0] * 5, 0, fails, None, 0.5).word == "better"
    assert judged([9.0] * 2, 3, fails, None, 0.5).word == "matches"
    assert judged([9.0] * 3, 2, fails, None, 0.5).word == "undecided"
    assert judged([], 0, fails, None, 0.5) is None
    number = PaperValues(error=8.0)
    assert judged([8.0], 4, number, None, 0.5).word == "worse"
    assert judged([8.0] * 4, 1, number, None, 0.5).word == "undecided"
    above = PaperValues(error_above=60)
    assert judged([70.0], 0, above, None, 0.5).word == "matches"
    assert judged([10.0], 0, above, None, 0.5).word == "better"
    assert judged([7.0], 0, PaperValues(), Spread(0.2, 4), 0.5) is None


def named(rows):
    """Return rows of values by run, each run of another name."""
    return [{f"{n} {run}": each for run, each in enumerate(row)} for n, row in enumerate(rows)]


def test_rows_of_a_table_whose_spreads_differ_keep_their_own():
    """By Bartlett's test, which is wrong in as many tables of equal spreads as it may be."""
    draws = np.random.default_rng(0).normal(8.0, 0.5, (SIMULATIONS, 6, 3))
    by_bartlett = [stats.bartlett(*rows).pvalue < 0.05 for rows in draws]
    assert [TableSpread((*named(rows),)).differ for rows in draws] == by_bartlett
    assert np.mean(by_bartlett) == pytest.approx(0.05, abs=0.02)

    alike = [[8.0, 8.2, 8.1], [9.1, 9.0, 9.2]]
    hard = [[40.0, 49.0, 44.0], [15.0, 18.0, 13.0]]
    rows = named(alike + hard)
    table, paper = TableSpread(tuple(rows)), PaperValues(error=8.7)
    assert table.differ
    assert table.pooled == pool(alike + hard)
    own = spread_between(rows[0], rows[1], table)  # of the same spread by chance: as pooled
    assert (own.std, own.dof) == (pytest.approx(pool(alike).std), pytest.approx(4))
    assert spread_between(rows[0], {"one": 8.0}, table) == table.pooled
    assert spread_of(rows[2], paper, table) == (pool(hard[:1]), "row")
    assert spread_of({"one": 40.0}, paper, table) == (table.pooled, "table")
    same = TableSpread((*rows[:2],))
    assert not same.differ
    assert spread_of(rows[0], paper, same) == (pool(alike), "table")
    # The paper's own spread counts in both: 0.01 of five runs.
    printed = TableSpread((rows[2],), (Spread(0.01, 4),))
    assert printed.differ
    of_five = PaperValues(error=8.7, mean=8.8, std=0.01, statistic="best_of_5")
    assert spread_of(rows[2], of_five, printed) == (pool(hard[:1], [Spread(0.01, 4)]), "row")
    # Another test of the same runs is no other run.
    again = {run: 10 * value for run, value in rows[0].items()}
    assert TableSpread((*rows[:2], again)).pooled == pool(alike)


def test_intervals_cover_what_they_should_where_rows_differ_in_spread():
    """Of all pairs of eight rows, five calm and three wild; all pooled, the worst has 0.77."""
    random = np.random.default_rng(0)
    sigmas = [0.3] * 5 + [3.0] * 3
    covered = np.zeros((8, 8))
    number = 500
    for _ in range(number):
        rows = named(random.normal(0, sigma, 3) for sigma in sigmas)
        table = TableSpread((*rows,))
        for one, other in zip(*np.tril_indices(8, -1), strict=True):
            pair = rows[one], rows[other]
            values = [[*each.values()] for each in pair]
            interval = between(*values, spread_between(*pair, table))
            covered[one, other] += not interval.excludes_zero
    rates = covered[np.tril_indices(8, -1)] / number
    assert rates.min() > 0.91
    assert rates.mean() < 0.98  # not by being too wide


def test_the_number_of_seeds_that_would_tell_two_rows_does():
    """Of two rows, of rows of different length, and of tests of the same runs."""
    spread, ours, theirs = Spread(0.3, 6), [8.0, 8.1], [8.4, 8.5]
    for paired, first, second in (
        (False, ours, theirs),
        (False, ours, [*theirs, *theirs, *theirs]),
        (True, ours, theirs),
    ):
        known = replace(spread, paired=paired)
        needed = seeds_to_tell(first, second, known, 0.1)
        length = len(first), len(second)

        def decided(number, known=known, length=length):
            both = [max(number, each) for each in length]
            added = both[0] - length[0] + (0 if known.paired else both[1] - length[1])
            groups = [[8.05] * both[0], [8.45] * both[1]]
            interval = between(*groups, replace(known, dof=known.dof + added))
            return interval.excludes_zero or interval.within(0.1)

        assert decided(needed)
        assert not decided(needed - 1)
    assert seeds_to_tell(ours, ours, Spread(30.0, 6), 0.1) is None


def test_rows_that_differ_in_spread_and_number_are_welchs_test():
    draws = np.random.default_rng(0)
    calm, wild = draws.normal(13, 0.2, 20), draws.normal(16, 2.6, 5)
    runs = named([calm, wild])
    spread = spread_between(*runs, TableSpread(tuple(runs)))
    interval = between(calm, wild, spread)
    test = stats.ttest_ind(calm, wild, equal_var=False)
    bounds = test.confidence_interval(0.95)
    assert spread.dof == pytest.approx(test.df)
    assert (interval.low, interval.high) == pytest.approx((bounds.low, bounds.high))


def test_equal_values_do_not_hide_the_spread_of_others():
    same, others = [0.0] * 5, [[0.1, 0.3], [0.2, 0.5]]
    rows = named([same, same, *others])
    table = TableSpread(tuple(rows))
    assert spread_between(rows[0], rows[1], table) == table.pooled
    assert spread_of(rows[0], PaperValues(error=0.1), table) == (table.pooled, "table")
    assert table.pooled.dof == 4 + 4 + 1 + 1  # they tell that little varies


def test_two_tests_of_the_same_runs_are_compared_in_pairs():
    """Runs differ by 0.5 points, and what the second test adds by a tenth of that."""
    draws = np.random.default_rng(0)
    one = {str(run): value for run, value in enumerate(draws.normal(8.7, 0.5, 6))}
    other = {run: value + 0.2 + draws.normal(0, 0.05) for run, value in one.items()}
    spread = spread_between(other, one, TableSpread())
    assert spread.paired
    interval = between([*other.values()], [*one.values()], spread)
    bounds = stats.ttest_rel([*other.values()], [*one.values()]).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((bounds.low, bounds.high))
    apart = pool([[*one.values()], [*other.values()]])
    assert not between([*other.values()], [*one.values()], apart).excludes_zero
    others = {f"another {run}": value for run, value in one.items()}
    few = [dict([*each.items()][:2]) for each in (other, one)]
    for pair in ((other, others), few, (one, one)):  # other runs, too few, nothing varies
        assert not spread_between(*pair, TableSpread(printed=(apart,))).paired
