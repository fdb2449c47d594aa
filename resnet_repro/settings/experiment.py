"""What an experiment file may say: a paper's table, its rows, and what the paper prints for each.

With the other modules of `settings`, this is the schema of `conf/`.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from resnet_repro.errors import UserError, require_choice

# Keys of `resnet_repro.judge.measures`.
MEASURES = ("test", "top5", "training", "response")
STATISTIC = re.compile(r"single|(best|median|mean)(_of_\d+)?")


@dataclass(kw_only=True)
class PaperValues:
    """What the paper prints for a row; null where it prints nothing.

    Attributes:
        ref: The row's key in the collection of published numbers, `papers.yaml`.
        error: Test error, %.
        top5: Likewise, the class not among the five most probable.
        error_above: The paper says only that the error is above this, %.
        fail: It prints "fail" in place of a number.
        statistic: What `error` is over the paper's runs: `single`, `best_of_5`, ...
        mean: Of those runs, %.
        std: Of those runs, %.
        layers: As printed.
        params: As printed (0.27e6: the digits printed are the digits compared).
        multiply_adds: As printed ("FLOPs").
        decimals: Printed of its errors.
        other_images: The number was measured on images that are not to be had: no difference.
    """

    ref: str | None = None
    error: float | None = None
    top5: float | None = None
    error_above: float | None = None
    fail: bool = False
    statistic: str = "single"
    mean: float | None = None
    std: float | None = None
    layers: int | None = None
    params: float | None = None
    multiply_adds: float | None = None
    decimals: int = 2
    other_images: bool = False

    def __post_init__(self) -> None:
        if not STATISTIC.fullmatch(self.statistic):
            raise UserError(
                f"paper.statistic={self.statistic}: single, best_of_5, median_of_5, ..."
            )

    @property
    def num_runs(self) -> int:
        """Number of runs behind the printed value, 1 where the paper does not say."""
        number = self.statistic.rpartition("_of_")[2]
        return int(number) if number.isdigit() else 1


@dataclass(kw_only=True)
class ExactCounts:
    """What a row's network must count, to the last digit; see `tests/reference`."""

    params: int = MISSING
    multiply_adds: int = MISSING


@dataclass(kw_only=True)
class RowConfig:
    """A row as an experiment file writes it.

    Attributes:
        name: As printed in the table.
        set: What the row varies: `{model.depth: 20}`.
        seeds: Its seeds, where they are not those of all rows.
        paper: What the paper prints.
        exact: What the network counts.
        cited: The paper quotes the row from elsewhere; it is shown and never run.
        members: The row averages the class probabilities of these rows' networks, one for each of
            their own `seeds` (of 0 where they have none), whichever seeds are asked for.
        starts_from: A row above, of whose networks this row's training starts with the weights,
            seed by seed; layers that the other does not have in the same shape are initialised.
        fail_above: A test error above this at the end is a "fail", %; null for none.
    """

    name: str = MISSING
    set: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] | None = None
    paper: PaperValues = field(default_factory=PaperValues)
    exact: ExactCounts | None = None
    cited: bool = False
    members: list[str] = field(default_factory=list)
    starts_from: str | None = None
    fail_above: float | None = None


@dataclass(kw_only=True)
class ClaimConfig:
    """What a paper concludes: an order of rows, judged on the runs made here.

    One of `falling`, `lowest` and `equal` says which.

    Attributes:
        text: In words, as in the paper.
        where: In the paper: `Sec. 4.2`.
        falling: Rows whose error falls from each to the next.
        lowest: A row whose error is below that of each of `others`.
        others: See `lowest`; null for all other rows that are run, on the same data.
        equal: Two rows that differ by less than `paper.margin`.
        measure: Which error: `test`, `top5`, `training`, or in its place the `response` of the
            layers, the mean of their standard deviations.
    """

    text: str = MISSING
    where: str = ""
    falling: list[str] = field(default_factory=list)
    lowest: str | None = None
    others: list[str] | None = None
    equal: list[str] = field(default_factory=list)
    measure: str = "test"

    def __post_init__(self) -> None:
        kinds = [len(self.falling) > 1, self.lowest is not None, len(self.equal) == 2]
        if sum(kinds) != 1 or (self.others is not None and self.lowest is None):
            raise UserError(
                f"claim {self.text!r}: either falling=[two rows or more], lowest=ROW (with "
                f"others=[...]), or equal=[two rows]"
            )
        require_choice(f"claim {self.text!r}: measure", self.measure, MEASURES)


@dataclass(kw_only=True)
class PaperConfig:
    """Which table or figure of which paper an experiment is.

    Attributes:
        cite: `He15`, `He16` or `Xie17`; null for an experiment of our own.
        where: `Table 6`.
        title: What it shows.
        margin: Two errors that differ by less are equal for all practical purposes, points.
        max_error: Top of its curves' error axis, %; null fits the axis to the curves.
        figure: A picture beside the curves: `size`, the error against the number of parameters
            ([Xie17] Fig. 7), or `responses` of the layers ([He15] Fig. 7).
        remarks: What a reader of the table must know, in words; printed below it.
    """

    cite: str | None = None
    where: str = ""
    title: str = ""
    margin: float = 0.5
    max_error: float | None = None
    figure: str | None = None
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.figure not in (None, "size", "responses"):
            raise UserError(f"paper.figure={self.figure}: size, responses or null")
        if self.margin <= 0:
            raise UserError(f"paper.margin={self.margin}: above 0")
