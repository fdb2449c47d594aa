"""What an experiment's rows must fit: the measures of its table."""

from collections.abc import Sequence

from resnet_repro.errors import UserError
from resnet_repro.plan import Row
from resnet_repro.settings.experiment import HIGHER_IS_BETTER, PaperConfig, RowConfig

# What tests of detectors give, by the format of their photographs.
MEASURES_OF = {
    "voc": ("voc07", "voc12"),
    "coco": ("map50", "map"),
    "ilsvrc_det": ("det",),
    "ilsvrc_loc": ("loc_gt", "loc_top5"),
}


def check_fails(name: str, rows: Sequence[RowConfig], paper: PaperConfig) -> None:
    """Raise a UserError if a row's limit is on the wrong side of the table's first measure."""
    is_higher = paper.measures[0] in HIGHER_IS_BETTER
    wrong, right = ("fail_above", "fail_below") if is_higher else ("fail_below", "fail_above")
    for row in rows:
        if getattr(row, wrong) is not None:
            raise UserError(
                f"{name}, row {row.name}: of {paper.measures[0]}, the table's first measure, "
                f"{'higher' if is_higher else 'lower'} is better: use {right}, not {wrong}"
            )


def check_measure(name: str, measure: str, rows: Sequence[Row]) -> None:
    """Raise a UserError if a table's first measure is not what tests of its photographs give."""
    for row in rows:
        if row.config is None or row.config.detector.step not in ("regions", "joint"):
            continue
        given = MEASURES_OF.get(row.config.data.name)
        if given and measure not in given:
            raise UserError(
                f"{name} is a table of {measure}, and tests of photographs with "
                f"data.name={row.config.data.name} give {' and '.join(given)}: choose an "
                f"experiment for these, or write your own"
            )
