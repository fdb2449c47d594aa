"""The spread between runs of the same settings: of a row, pooled over rows, or within pairs.

Few runs tell little of their spread, so that of the whole table stands in for it, unless the rows'
own contradicts it: networks that are hard to train differ more from run to run than others.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scipy import special

from resnet_repro.settings.experiment import PaperValues
from resnet_repro.strict_json import SPARE

ENOUGH_SEEDS = 5  # with at least this many seeds, a row's own spread is used, not the table's
CONTRADICTS = 0.01  # so improbable is a row's own spread, if it is that of the table's other rows
ENOUGH_PAIRS = 3  # with fewer tests of the same runs, their differences say little


@dataclass(frozen=True)
class Spread:
    """An estimate of the standard deviation between runs in points, and its degrees of freedom.

    Attributes:
        std: The standard deviation.
        dof: The degrees of freedom.
        paired: Whether it is that of the differences within runs that two rows share, by the root
            of two: with it, `between` is Student's t of these differences.
    """

    std: float
    dof: int
    paired: bool = field(default=False, metadata=SPARE)


def pool(groups: Iterable[Sequence[float]], printed: Iterable[Spread] = ()) -> Spread | None:
    """Return the pooled standard deviation of groups of runs; None where it is unknown.

    Args:
        groups: The values of one row each; rows with a single run do not contribute.
        printed: Spreads that the paper prints.
    """
    known = [Spread(statistics.stdev(each), len(each) - 1) for each in groups if len(each) > 1]
    known += printed
    dof = sum(each.dof for each in known)
    square = sum(each.dof * each.std**2 for each in known)
    return Spread(math.sqrt(square / dof), dof) if square else None


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


def spread_between(
    ours: Mapping[str, float], theirs: Mapping[str, float], table_spread: Spread | None
) -> Spread | None:
    """Return the spread by which two rows are compared; None where it is unknown.

    Within pairs, where both test the same runs; else the rows' own, if both have enough seeds or it
    contradicts the table's; else the table's.

    Args:
        ours: The values of one row, by run as `Outcome.by_run` has them.
        theirs: The values of the other.
        table_spread: The spread that the rows of a table share.
    """
    if paired := _of_pairs(ours, theirs):
        return paired
    own = pool([[*ours.values()], [*theirs.values()]])
    if min(len(ours), len(theirs)) >= ENOUGH_SEEDS or contradicts(own, table_spread):
        return own
    return table_spread or own


def contradicts(own: Spread | None, table_spread: Spread | None) -> bool:
    """Return whether a spread differs from that of the table's other rows (F test, two-sided).

    Args:
        own: The spread of one row or two.
        table_spread: The spread pooled over the table's rows, these included.
    """
    if own is None or table_spread is None or table_spread.dof <= own.dof:
        return False
    dof = table_spread.dof - own.dof
    others = (table_spread.dof * table_spread.std**2 - own.dof * own.std**2) / dof
    if others <= 0:  # nothing varies there
        return True
    ratio = own.std**2 / others
    tails = special.fdtr(own.dof, dof, ratio), special.fdtrc(own.dof, dof, ratio)
    return bool(min(tails) < CONTRADICTS / 2)
