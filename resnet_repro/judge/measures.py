"""The measures of a run: name, unit, whether lower is better, how to read it from a result.

A table compares those in its `paper.measures` with the paper. A claim names a measure by its key.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.settings.experiment import HIGHER_IS_BETTER, PaperValues


@dataclass(frozen=True)
class Measure:
    """A number that is measured for each run.

    Attributes:
        key: Name in an experiment file (`PaperConfig.measures`, `ClaimConfig.measure`).
        label: Name at the start of a sentence.
        unit: Unit of the values; empty if they have none.
        read: Function from a result and the row's protocol to the value; None where the run has
            none.
        printed: Function from a row's printed values to those of this measure, in `error`.
        column: Name in the heads of its columns.
        about: Remark below the table on what the number is; empty if it needs none.
        curve: Measure of the tests while training, of which the pictures have curves.
    """

    key: str
    label: str
    unit: str
    read: Callable[[Result, str], float | None]
    printed: Callable[[PaperValues], PaperValues]
    column: str
    about: str = ""
    curve: str = "error"

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower value means a better network."""
        return self.key not in HIGHER_IS_BETTER

    def better_or_worse(self, told: str) -> str:
        """Return `better` or `worse` for a value that is `higher` or `lower` than another."""
        return "better" if (told == "lower") == self.lower_is_better else "worse"

    @property
    def name(self) -> str:
        """Name within a sentence: `test error`, `mAP@.5`."""
        return self.label[0].lower() + self.label[1:]

    @property
    def plural(self) -> str:
        """What differences are taken of, in a sentence."""
        return "errors" if self.lower_is_better and self.unit else "values"


def _nothing(paper: PaperValues) -> PaperValues:
    return replace(paper, error=None, mean=None, std=None, fail=False, error_above=None)


def _response(result: Result, _: str) -> float | None:
    stds = result.evaluations.get("responses", {}).get("std")
    return sum(stds) / len(stds) if stds else None


def _percent(key: str) -> Callable[[Result, str], float | None]:
    return lambda result, protocol: result.evaluations.get(protocol, {}).get(key)


def _share(part: str, whole: str) -> Callable[[Result, str], float | None]:
    """Return a function that reads a value in % from two counts of a test."""

    def read(result: Result, protocol: str) -> float | None:
        counts = result.evaluations.get(protocol, {})
        is_known = part in counts and counts.get(whole)
        return 100 * counts[part] / counts[whole] if is_known else None

    return read


def _in_values(
    key: str,
    label: str,
    about: str,
    read: Callable[[Result, str], float | None],
    curve: str = "error",
) -> Measure:
    """Return a measure that an experiment file has in `paper.values`."""
    return Measure(
        key=key,
        label=label,
        unit="%",
        read=read,
        printed=lambda paper: replace(_nothing(paper), error=paper.values.get(key)),
        column=label[0].lower() + label[1:],
        about=about,
        curve=curve,
    )


TEST = Measure(
    key="test",
    label="Test error",
    unit="%",
    read=lambda result, protocol: result.error(protocol),
    printed=lambda paper: paper,
    column="error",
    about="Error: top-1 error in %",
)
TOP5 = Measure(
    key="top5",
    label="Top-5 error",
    unit="%",
    read=lambda result, protocol: result.error(protocol, top5=True),
    printed=lambda paper: replace(_nothing(paper), error=paper.top5),
    column="top-5",
)
TRAINING = Measure(
    key="training",
    label="Training error",
    unit="%",
    read=lambda result, _: result.train_error,
    printed=_nothing,
    column="training error",
)
RESPONSE = Measure(
    key="response",
    label="Responses",
    unit="",
    read=_response,
    printed=_nothing,
    column="responses",
)
# [He15] Tables 7, 8 and 12; the evaluators are in `detection`.
VOC07 = _in_values(
    "voc07",
    "mAP (11 points)",
    "mAP (11 points): mean over the classes of average precision at an overlap (IoU) of at least "
    ".5, the mean of precision at 11 recalls as in VOC 2007, in %",
    _percent("voc07"),
    "mAP",
)
VOC12 = _in_values(
    "voc12",
    "mAP (area)",
    "mAP (area): mean over the classes of average precision at an overlap (IoU) of at least .5, "
    "the area below the curve of precision against recall as in VOC 2012, in %",
    _percent("voc12"),
    "mAP",
)
MAP50 = _in_values(
    "map50",
    "mAP@.5",
    "mAP@.5: mean over the classes of COCO's average precision at an overlap (IoU) of at least .5, "
    "in %",
    _percent("map50"),
    "mAP",
)
MAP = _in_values(
    "map",
    "mAP@.5:.95",
    "mAP@.5:.95: mean of COCO's average precision over the classes and ten overlaps, in %",
    _percent("map"),
    "mAP",
)
DET = _in_values(
    "det",
    "mAP (DET)",
    "mAP (DET): mean over the classes of ILSVRC's average precision at an overlap (IoU) of at "
    "least .5, or less for small objects, in %",
    _percent("det"),
    "mAP",
)
RECALL = _in_values(
    "recall",
    "Recall of proposals",
    "Recall of proposals: share of objects that a proposal overlaps by at least .5 (IoU), in %",
    _share("num_found", "num_objects"),
    "recall",
)
LOC_GT = _in_values(
    "loc_gt",
    "Localisation error, class given",
    "Localisation error, class given: share of images in % whose box, predicted for the true "
    "class, overlaps no object of it by at least .5 (IoU)",
    _share("num_errors_loc_gt", "num_images"),
)
LOC_TOP5 = _in_values(
    "loc_top5",
    "Top-5 localisation error",
    "Top-5 localisation error: share of images in % of which none of five guesses has the class "
    "and a box that overlaps an object of it by at least .5 (IoU)",
    _share("num_errors_loc_top5", "num_images"),
)
MEASURES = {
    measure.key: measure
    for measure in (
        *(TEST, TOP5, TRAINING, RESPONSE),
        *(VOC07, VOC12, MAP50, MAP, DET, RECALL),
        *(LOC_GT, LOC_TOP5),
    )
}


def compared_measures(plan: Plan) -> tuple[Measure, ...]:
    """Return the measures of a table's columns; the top-5 error only where the paper prints it."""
    measures = [MEASURES[key] for key in plan.paper.measures]
    has_top5 = any(row.paper.top5 is not None for row in plan.rows)
    return tuple(m for m in measures if m is not TOP5 or m is measures[0] or has_top5)


def first_measure(plan: Plan) -> Measure:
    """Return the measure of a table's first columns, by which runs count as failed."""
    return MEASURES[plan.paper.measures[0]]


def per_class(result: Result, protocol: str, measure: Measure) -> dict[str, float | None]:
    """Return a run's average precision of each class, %; None of one without objects."""
    classes = result.evaluations.get(protocol, {}).get("per_class", {})
    return {name: each[measure.key] for name, each in classes.items() if measure.key in each}
