"""The list of pictures, and the functions that draw and write them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from resnet_repro.judge.measures import first_measure
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.curves import draw_curves
from resnet_repro.report.pictures.differences import draw_differences
from resnet_repro.report.pictures.examples import draw_examples
from resnet_repro.report.pictures.losses import draw_losses
from resnet_repro.report.pictures.paper_figures import FIGURES, Picture
from resnet_repro.report.pictures.precision import draw_precision
from resnet_repro.report.pictures.sizes import draw_cost, draw_depth
from resnet_repro.report.pictures.style import default_style, save
from resnet_repro.report.pictures.sweeps import draw_sweep
from resnet_repro.report.tables import Table

logger = logging.getLogger("resnet_repro")

Made = TypeVar("Made")

# Pictures of every experiment. Those in `FIGURES` are drawn if `paper.figure` names them.
PICTURES = {
    "curves": Picture(draw_curves, "{curve} against iterations, one seed of each row."),
    "losses": Picture(draw_losses, "Training loss against iterations, one seed of each row."),
    "differences": Picture(
        draw_differences, "Ours minus the paper's, row by row, with 95 % confidence intervals."
    ),
    "depth": Picture(draw_depth, "{measure} against the number of layers."),
    "cost": Picture(draw_cost, "{measure} against parameters and against multiply-adds."),
    "precision": Picture(draw_precision, "Precision against recall, class by class."),
    "examples": Picture(draw_examples, "Photographs that are detected best and worst."),
}
# Pictures of a sweep, whose rows differ in other things than size.
SWEEP_PICTURES = {
    "curves": PICTURES["curves"],
    "sweep": Picture(draw_sweep, "{measure} against the values of the settings that vary."),
}
CAPTIONS = {
    name: picture.caption for name, picture in {**PICTURES, **SWEEP_PICTURES, **FIGURES}.items()
}


def caption(name: str, plan: Plan) -> str:
    """Return the sentence below a picture."""
    measure = first_measure(plan)
    curve = measure.curve if "mAP" in measure.curve else measure.curve.capitalize()
    return CAPTIONS[name].format(curve=curve, measure=measure.label)


def draw_all(
    plan: Plan,
    table: Table,
    results: dict[str, list[Result]],
    finish: Callable[[str, Figure], Made],
) -> list[Made]:
    """Draw every picture for which there are results.

    A picture that fails is skipped with a warning, so that the table is written nonetheless.

    Args:
        plan: The experiment.
        table: The experiment's table.
        results: Results of each row, by the row's name.
        finish: Function that is called with the name and the figure of each picture.

    Returns:
        What `finish` returned for each picture.
    """
    always = SWEEP_PICTURES if plan.sweep else PICTURES
    asked = {name: each for name, each in FIGURES.items() if name == plan.paper.figure}
    made = []
    for name, picture in {**always, **asked}.items():
        try:
            with default_style():
                if figure := picture.draw(plan, table, results):
                    made.append(finish(name, figure))
        except Exception as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            logger.warning("%s: the picture %s was skipped (%s)", plan.name, name, why)
    return made


def write_pictures(plan: Plan, table: Table, results: dict[str, list[Result]]) -> list[Path]:
    """Write every picture as SVG and PNG; return the files."""
    saved = draw_all(plan, table, results, lambda name, figure: save(figure, plan.folder, name))
    return [path for paths in saved for path in paths]
