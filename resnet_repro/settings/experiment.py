"""Contents of an experiment file: a paper's table, its rows, and the numbers it prints for each.

With the other modules of `settings`, this is the schema of `conf/`.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from resnet_repro.errors import UserError, require_choice
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.model import ModelSection
from resnet_repro.settings.recipe import RecipeConfig

# Keys of `resnet_repro.judge.measures`.
MEASURES = ("test", "top5", "training", "response")
STATISTIC = re.compile(r"single|(best|median|mean)(_of_\d+)?")


@dataclass(kw_only=True)
class PaperValues:
    """The paper's numbers for a row; null where it prints none.

    Attributes:
        ref: The row's key in `papers.yaml`, the collection of published numbers.
        error: Top-1 test error, %.
        top5: Top-5 test error, %.
        error_above: A lower bound, %, if the paper only says that the error is above it.
        fail: Whether the paper prints "fail" instead of a number.
        statistic: How `error` summarizes the paper's runs: `single`, `best_of_5`, ...
        mean: Mean error of those runs, %.
        std: Standard deviation of those runs, %.
        layers: Number of layers, as printed.
        params: Number of parameters, as printed (0.27e6: compared to the printed digits).
        multiply_adds: Number of multiply-adds, as printed ("FLOPs").
        decimals: Number of decimals of the printed errors.
        other_images: Whether the number was measured on images that are not available, so that no
            difference is reported.
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
        """Number of runs behind the printed value; 1 if the paper does not say."""
        number = self.statistic.rpartition("_of_")[2]
        return int(number) if number.isdigit() else 1


@dataclass(kw_only=True)
class ExactCounts:
    """Exact counts of a row's network; see `tests/reference`."""

    params: int = MISSING
    multiply_adds: int = MISSING


@dataclass(kw_only=True)
class RowConfig:
    """A row of an experiment file.

    Attributes:
        name: The row's name, as printed in the table.
        set: The settings that the row changes: `{model.depth: 20}`; those of an earlier step as
            `{steps.proposals.recipe.lr: 0.003}`.
        seeds: The row's own seeds; null: those of all rows.
        paper: The paper's numbers.
        exact: Exact counts of the network.
        cited: Whether the paper cites the row from elsewhere; it is shown and never run.
        members: Rows whose networks' class probabilities this row averages, one network for each
            of their own `seeds` (seed 0 if they set none), whichever seeds are selected.
        starts_from: A trained row above; this row's training starts from the final weights of its
            networks, seed by seed. Layers that it lacks in the same shape are initialised.
        fail_above: Final test error above which a run counts as "fail", %; null: never.
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
class StepConfig:
    """A step of a training that takes several runs; each is trained, kept and resumed on its own.

    The last step of an experiment is a row's own run, with the settings of the experiment and the
    row. Steps before it have these settings too, but for the sections given here.

    Attributes:
        start: The step from whose final weights this one starts; null: none.
        proposals: The step whose network proposes the regions that this one is trained on.
        seed: The step's seed, whatever the row's; null: the row's. With a seed, all runs of a row
            share the step, as the papers' detectors share a classifier.
        weights: A file of torchvision's classification weights, in place of training this step.
        model: The network, in place of the row's; null: the row's. Likewise the other sections.
        data: The data set.
        recipe: The recipe.
        evaluation: The test.
        detector: What the step trains.
    """

    start: str | None = None
    proposals: str | None = None
    seed: int | None = None
    weights: str | None = None
    model: ModelSection | None = None
    data: DataConfig | None = None
    recipe: RecipeConfig | None = None
    evaluation: EvaluationConfig | None = None
    detector: DetectorConfig | None = None


@dataclass(kw_only=True)
class ClaimConfig:
    """A conclusion of the paper about the order of rows, judged on the runs made here.

    Exactly one of `falling`, `lowest` and `equal` is set.

    Attributes:
        text: The claim in words, as in the paper.
        where: The claim's place in the paper: `Sec. 4.2`.
        falling: Rows whose error decreases from each to the next.
        lowest: A row whose error is below that of each of `others`.
        others: Rows compared with `lowest`; null: all other runnable rows on the same data.
        equal: Two rows that differ by less than `paper.margin`.
        measure: What is compared: the `test`, `top5` or `training` error, or the `response`, the
            mean standard deviation of the layers' responses.
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
    """The paper's table or figure that an experiment reproduces.

    Attributes:
        cite: The paper: `He15`, `He16` or `Xie17`; null for an experiment of our own.
        where: The table or figure: `Table 6`.
        title: Title of the table.
        margin: Largest difference of two errors that is practically irrelevant, points.
        max_error: Top of the curves' error axis, %; null: fitted to the curves.
        figure: A figure in addition to the curves: `size`, error against number of parameters
            ([Xie17] Fig. 7), or `responses` of the layers ([He15] Fig. 7).
        remarks: Notes for the reader of the table, printed below it.
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
