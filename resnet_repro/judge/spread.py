"""The spread between runs of the same settings: of a row, pooled over rows, or within pairs.

Few runs tell little of their spread, so that of the whole table stands in for it, unless the rows
differ in it: networks that are hard to train differ more from run to run than others.
"""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from scipy import special

from resnet_repro.settings.experiment import PaperValues
from resnet_repro.strict_json import SPARE

ENOUGH_SEEDS = 5  # with at least this many seeds, a row's own spread is used, not the table's
# So improbable are the rows' spreads, if they are the same. In simulated tables of eight rows with
# three runs each that differ tenfold in spread, 95 % intervals then cover 94 % of differences of
# any two rows or more, 77 % if all are pooled; where rows do not differ, they are 2 % wider.
DIFFER = 0.05
ENOUGH_PAIRS = 3  # with fewer tests of the same runs, their differences say little


@dataclass(frozen=True)
class Spread:
    """An estimate of the standard deviation between runs in points, and its degrees of freedom.

    Attributes:
        std: The standard deviation.
        dof: The degrees of freedom; those of two rows that differ in spread are not whole.
        paired: Whether it is that of the differences within runs that two rows share, by the root
            of two: with it, `between` is Student's t of these differences.
    """

    std: float
    dof: float
    paired: bool = field(default=False, metadata=SPARE)


def pool(groups: Iterable[Sequence[float]], printed: Iterable[Spread] = ()) -> Spread | None:
    """Return the pooled standard deviation of groups of runs; None where it is unknown.

    Args:
        groups: The values of one row each; rows with a single run do not contribute.
        printed: Spreads that the paper prints.
    """
    known = [*filter(None, map(_own, groups)), *printed]
    dof = sum(each.dof for each in known)
    square = sum(each.dof * each.std**2 for each in known)
    return Spread(math.sqrt(square / dof), dof) if square else None


def _own(values: Collection[float]) -> Spread | None:
    """Return the spread of a row's runs, also of none; None for a single run."""
    return Spread(statistics.stdev(values), len(values) - 1) if len(values) > 1 else None


def _of_pairs(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Spread | None:
    """Return the spread for two tests of the same runs, whose values rise and fall together.

    Args:
        ours: The values of one test by run.
        theirs: The values of the other.

    Returns:
        The spread; None for other runs, fewer than `ENOUGH_PAIRS`, and equal differences.
    """
    if ours.keys() != theirs.keys() or len(ours) < ENOUGH_PAIRS:
        return None
    std = statistics.stdev(ours[run] - theirs[run] for run in ours)
    return Spread(std / math.sqrt(2), len(ours) - 1, paired=True) if std else None


def printed_spread(paper: PaperValues) -> list[Spread]:
    """Return the spread that the paper prints for a row, as a list of one; empty if it has none."""
    if paper.std is None or paper.num_runs < 2:
        return []
    return [Spread(paper.std, paper.num_runs - 1)]


@dataclass(frozen=True)
class TableSpread:
    """What tells the spread of a table's rows on the same images.

    Attributes:
        rows: The values of each row, by run as `Outcome.by_run` has them.
        printed: The spreads that the paper prints.
    """

    rows: tuple[Mapping[str, float], ...] = ()
    printed: tuple[Spread, ...] = ()

    @cached_property
    def pooled(self) -> Spread | None:
        """The spread pooled over all rows."""
        return pool([], self._each)

    @cached_property
    def differ(self) -> bool:
        """Whether the rows differ in spread: Bartlett's test.

        Spreads of zero, of values that are equal as they are rounded, are left out.
        """
        known = [each for each in self._each if each.std]
        pooled = pool([], known)
        if pooled is None or len(known) < 2:
            return False
        excess = sum(each.dof * math.log(pooled.std**2 / each.std**2) for each in known)
        bias = sum(1 / each.dof for each in known) - 1 / pooled.dof
        degrees = len(known) - 1
        return bool(special.chdtrc(degrees, excess / (1 + bias / (3 * degrees))) < DIFFER)

    @cached_property
    def _each(self) -> list[Spread]:
        """The spreads, with each run once: another test of it is no other run."""
        known, groups = set[str](), []
        for row in self.rows:
            groups.append([value for run, value in row.items() if run not in known])
            known |= row.keys()
        return [*filter(None, map(_own, groups)), *self.printed]


def spread_between(
    ours: Mapping[str, float], theirs: Mapping[str, float], table: TableSpread
) -> Spread | None:
    """Return the spread by which two rows are compared; None where it is unknown.

    Within pairs, where both test the same runs; else the rows' own, if both have enough seeds or
    the table's rows differ in spread; else the table's.

    Args:
        ours: The values of one row, by run as `Outcome.by_run` has them.
        theirs: The values of the other.
        table: The spread that the rows of a table share.
    """
    if paired := _of_pairs(ours, theirs):
        return paired
    both = [*ours.values()], [*theirs.values()]
    # A row's spread says nothing of another with a single run.
    of_two = _of_two(*both) if is_own(table, *both) else None
    return of_two or table.pooled or pool(both)


def shared_spread(
    ours: Mapping[str, float], theirs: Mapping[str, float], table: TableSpread
) -> Spread | None:
    """Return the spread of the runs of either of two rows; None where it is unknown.

    That of the two rows where `spread_between` takes it, else the table's.
    """
    both = [*ours.values()], [*theirs.values()]
    return (pool(both) if is_own(table, *both) else None) or table.pooled or pool(both)


def is_own(table: TableSpread, *rows: Collection[float]) -> bool:
    """Return whether rows are judged by their own spread, not by that of the whole table."""
    return table.differ or min(map(len, rows)) >= ENOUGH_SEEDS


def _of_two(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """Return the spread of two rows that may differ in it, of which each has two runs or more.

    With it, `between` is Welch's t, with the degrees of freedom of Welch and Satterthwaite: a row
    that varies much counts by its own number of runs.
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    squares = [statistics.variance(each) / len(each) for each in (ours, theirs)]
    total = sum(squares)
    if not total:
        return None
    parts = zip(squares, (ours, theirs), strict=True)
    dof = total**2 / sum(square**2 / (len(each) - 1) for square, each in parts)
    return Spread(math.sqrt(total / (1 / len(ours) + 1 / len(theirs))), dof)
