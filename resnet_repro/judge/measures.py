"""The measures of a run: name, unit, whether lower is better, how to read it from a result.

A table compares the measures in `COMPARED` with the paper. A claim names a measure by its key.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from resnet_repro.records.archive import Result
from resnet_repro.settings.experiment import PaperValues


@dataclass(frozen=True)
class Measure:
    """A number that is measured for each run.

    Attributes:
        key: Name in an experiment file (`ClaimConfig.measure`).
        label: Name in a sentence.
        unit: Unit of the values; empty if they have none.
        lower_is_better: Whether a lower value means a better network.
        read: Function from a result and the row's protocol to the value; None where the run has
            none.
        printed: Function from a row's printed values to those of this measure.
        column: Prefix of its columns in a table; empty for the first measure.
    """

    key: str
    label: str
    unit: str
    lower_is_better: bool
    read: Callable[[Result, str], float | None]
    printed: Callable[[PaperValues], PaperValues]
    column: str = ""


def _nothing(paper: PaperValues) -> PaperValues:
    return replace(paper, error=None, mean=None, std=None, fail=False, error_above=None)


def _response(result: Result, _: str) -> float | None:
    stds = result.evaluations.get("responses", {}).get("std")
    return sum(stds) / len(stds) if stds else None


TEST = Measure(
    key="test",
    label="Test error",
    unit="%",
    lower_is_better=True,
    read=lambda result, protocol: result.error(protocol),
    printed=lambda paper: paper,
)
TOP5 = Measure(
    key="top5",
    label="Top-5 error",
    unit="%",
    lower_is_better=True,
    read=lambda result, protocol: result.error(protocol, top5=True),
    printed=lambda paper: replace(_nothing(paper), error=paper.top5),
    column="top-5 ",
)
TRAINING = Measure(
    key="training",
    label="Training error",
    unit="%",
    lower_is_better=True,
    read=lambda result, _: result.train_error,
    printed=_nothing,
)
RESPONSE = Measure(
    key="response",
    label="Responses",
    unit="",
    lower_is_better=True,
    read=_response,
    printed=_nothing,
)
MEASURES = {measure.key: measure for measure in (TEST, TOP5, TRAINING, RESPONSE)}
COMPARED = (TEST, TOP5)
