"""Contents of an experiment file: a paper's table, its rows, and the numbers it prints for each.

With the other modules of `settings`, this is the schema of `conf/`.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from resnet_repro.errors import UserError, nearest, require, require_choice
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.model import ModelSection
from resnet_repro.settings.recipe import RecipeConfig
from resnet_repro.strict_json import SPARE

# Keys of `resnet_repro.judge.measures`: of detection, of proposals, and of all.
HIGHER_IS_BETTER = ("voc07", "voc12", "map50", "map", "det", "recall")
IN_VALUES = (*HIGHER_IS_BETTER, "loc_gt", "loc_top5")  # printed in `PaperValues.values`
MEASURES = ("test", "top5", "training", "response", *IN_VALUES)
STATISTIC = re.compile(r"single|(best|median|mean)(_of_\d+)?")


@dataclass(kw_only=True)
class PaperValues:
    """The paper's numbers for a row; null where it prints none.

    Attributes:
        ref: The row's key in `papers.yaml`, the collection of published numbers.
        error: Top-1 test error, %.
        top5: Top-5 test error, %.
        values: Values of other measures by their keys, %: `{map50: 41.5, map: 21.2}`.
        per_class: Average precision of each class by the table's first measure, %; the names are
            those of the data: `{diningtable: 65.7}`.
        error_above: A lower bound, %, if the paper only says that the error is above it.
        fail: Whether the paper prints "fail" instead of a number.
        statistic: How the numbers summarize the paper's runs: `single`, `best_of_5`, ...
        mean: Mean error of those runs, %.
        std: Standard deviation of those runs, %.
        layers: Number of layers, as printed.
        params: Number of parameters, as printed (0.27e6: compared to the printed digits).
        multiply_adds: Number of multiply-adds, as printed ("FLOPs").
        decimals: Number of decimals of the printed values.
        other_images: Whether the number was measured on images that are not available, so that no
            difference is reported.
    """

    ref: str | None = None
    error: float | None = None
    top5: float | None = None
    values: dict[str, float] = field(default_factory=dict, metadata=SPARE)
    per_class: dict[str, float] = field(default_factory=dict, metadata=SPARE)
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
        for key in self.values:
            require(key in IN_VALUES, f"paper.values has no measure {key}{nearest(key, IN_VALUES)}")

    @property
    def num_runs(self) -> int:
        """Number of runs behind the printed value; 1 if the paper does not say."""
        number = self.statistic.rpartition("_of_")[2]
        return int(number) if number.isdigit() else 1


@dataclass(kw_only=True)
class ExactCounts:
    """Exact counts of a row's network; see `tests/reference`.

    Attributes:
        params: Number of parameters.
        multiply_adds: Multiply-adds for one image; null for a detector, whose images differ.
    """

    params: int = MISSING
    multiply_adds: int | None = None


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
        fail_above: Final value of the table's first measure above which a run counts as "fail", %,
            where lower is better; null: never.
        fail_below: Likewise, below which it does, where higher is better.
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
    fail_below: float | None = None

    def __post_init__(self) -> None:
        unread = (("set", self.set), ("seeds", self.seeds), ("starts_from", self.starts_from))
        for key, value in unread if self.members else ():
            require(
                not value, f"row {self.name}: {key} is for rows that are trained, not for members"
            )


@dataclass(kw_only=True)
class GainConfig:
    """A relative improvement of one row over another.

    Attributes:
        of: The better row.
        over: The other row, whose value is 100 %.
        percent: The improvement that the paper states, %.
    """

    of: str = MISSING
    over: str = MISSING
    percent: float = MISSING

    def __post_init__(self) -> None:
        require(self.percent > 0, f"gain.percent={self.percent}: above 0")
        require(self.of != self.over, f"gain: of and over are both {self.of}")


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
        weights_sha256: Its SHA-256, in records, which are read without it; null: what it has.
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
    weights_sha256: str | None = None
    model: ModelSection | None = None
    data: DataConfig | None = None
    recipe: RecipeConfig | None = None
    evaluation: EvaluationConfig | None = None
    detector: DetectorConfig | None = None


@dataclass(kw_only=True)
class ClaimConfig:
    """A conclusion of the paper about the order of rows, judged on the runs made here.

    Exactly one of `falling`, `lowest`, `rising`, `highest`, `equal` and `gain` is set. The first
    two are for measures of which lower is better, the next two for the others.

    Attributes:
        text: The claim in words, as in the paper.
        where: The claim's place in the paper: `Sec. 4.2`.
        falling: Rows whose value decreases from each to the next.
        lowest: A row whose value is below that of each of `others`.
        rising: Rows whose value increases from each to the next.
        highest: A row whose value is above that of each of `others`.
        others: Rows compared with `lowest` or `highest`; null: all other runnable rows on the same
            data.
        equal: Two rows that differ by less than `paper.margin`.
        gain: A relative improvement: `{of: ResNet-101, over: VGG-16, percent: 28}`.
        measure: What is compared, a key of `judge.measures`: the `test`, `top5` or `training`
            error; the `response`, the mean standard deviation of the layers' responses; `map`, ...
    """

    text: str = MISSING
    where: str = ""
    falling: list[str] = field(default_factory=list)
    lowest: str | None = None
    rising: list[str] = field(default_factory=list)
    highest: str | None = None
    others: list[str] | None = None
    equal: list[str] = field(default_factory=list)
    gain: GainConfig | None = None
    measure: str = "test"

    def __post_init__(self) -> None:
        kinds = {
            "falling": len(self.falling) > 1,
            "lowest": self.lowest is not None,
            "rising": len(self.rising) > 1,
            "highest": self.highest is not None,
            "equal": len(self.equal) == 2,
            "gain": self.gain is not None,
        }
        words = [word for word, is_set in kinds.items() if is_set]
        if len(words) != 1 or (self.others is not None and words[0] not in ("lowest", "highest")):
            raise UserError(
                f"claim {self.text!r}: either falling=[two rows or more], lowest=ROW (with "
                f"others=[...]), rising or highest likewise, equal=[two rows], or "
                f"gain={{of: ROW, over: ROW, percent: 28}}"
            )
        require_choice(f"claim {self.text!r}: measure", self.measure, MEASURES)
        is_higher = self.measure in HIGHER_IS_BETTER
        fitting = {"falling": "rising", "lowest": "highest"}
        fitting = fitting if is_higher else {new: old for old, new in fitting.items()}
        if words[0] in fitting:
            raise UserError(
                f"claim {self.text!r}: {words[0]} does not fit measure={self.measure}, of which "
                f"{'higher' if is_higher else 'lower'} is better: use {fitting[words[0]]}"
                + ("" if is_higher else f", or set measure to {' or '.join(HIGHER_IS_BETTER)}")
            )

    @property
    def rows(self) -> list[str]:
        """The rows that the claim names."""
        single = [name for name in (self.lowest, self.highest) if name]
        gain = [self.gain.of, self.gain.over] if self.gain else []
        return [*self.falling, *self.rising, *single, *(self.others or []), *self.equal, *gain]


@dataclass(kw_only=True)
class PaperConfig:
    """The paper's table or figure that an experiment reproduces.

    Attributes:
        cite: The paper: `He15`, `He16` or `Xie17`; null for an experiment of our own.
        where: The table or figure: `Table 6`.
        title: Title of the table.
        measures: Keys of the measures that the table compares, the most important one first.
        margin: Largest difference of two values that is practically irrelevant, points.
        max_error: Top of the curves' error axis, %; null, and for measures of which higher is
            better: fitted to the curves.
        figure: A figure in addition to the curves: `size`, error against number of parameters
            ([Xie17] Fig. 7), or `responses` of the layers ([He15] Fig. 7).
        remarks: Notes for the reader of the table, printed below it.
        elsewhere: Published numbers that no row has, by their key in `papers.yaml`: where they are,
            or why they cannot be had. `list` counts them.
    """

    cite: str | None = None
    where: str = ""
    title: str = ""
    measures: list[str] = field(default_factory=lambda: ["test", "top5"])
    margin: float = 0.5
    max_error: float | None = None
    figure: str | None = None
    remarks: list[str] = field(default_factory=list)
    elsewhere: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.figure not in (None, "size", "responses"):
            raise UserError(f"paper.figure={self.figure}: size, responses or null")
        if self.margin <= 0:
            raise UserError(f"paper.margin={self.margin}: above 0")
        measures = list(self.measures)
        require(
            bool(measures) and len(set(measures)) == len(measures),
            f"paper.measures={measures}: name one or more, each once",
        )
        for key in measures:
            require_choice("paper.measures", key, MEASURES)
        require(
            self.max_error is None or measures[0] not in HIGHER_IS_BETTER,
            f"paper.max_error={self.max_error} is for errors, and the table is of {measures[0]}: "
            f"leave it out",
        )
