"""The picture of detections on photographs: the best and the worst of a test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from resnet_repro.judge.outcomes import sort_all
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.records.examples import SHOWN, Box, Example, matched, read_examples
from resnet_repro.records.runs import run_folder
from resnet_repro.report.pictures.style import SMALL, add_lower_legend, new_figure
from resnet_repro.report.tables import Table
from resnet_repro.visible import visible

COLUMNS = 3
WIDTH = 2.9  # of a photograph, inches
LONGEST = 400  # pixels of a photograph's longer side in the picture
RIGHT, WRONG, LABELLED = "#56B4E9", "#D55E00", "#F0E442"


def draw_examples(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw the best and the worst detections of one run of the last row that has examples here.

    Returns:
        The figure; None where no run's folder has examples, or the photographs are not here.
    """
    for name, outcome in reversed(sort_all(plan, results).items()):
        for result in outcome.good:
            run = outcome.row.ensemble or outcome.row.run(result.seed)
            found = read_examples(run_folder(run, plan.results), outcome.row.protocol)
            here = [each for each in found if Path(each.photograph).is_file()]
            if here:
                title = f"{plan.paper.title}: {name}, seed {result.seed}"
                return draw_photographs(here, title, is_changed=table.is_changed)
    return None


def draw_photographs(
    examples: Sequence[Example], title: str, *, is_changed: bool = False
) -> Figure:
    """Draw photographs with their labelled boxes and with detections, class names and scores.

    Detections with a score of at least `SHOWN` are drawn; those that are of no labelled object of
    their class have another colour.
    """
    columns = min(COLUMNS, len(examples))
    lines = -(-len(examples) // columns)
    figure = new_figure(0.3 + WIDTH * columns, 1.2 + 2.5 * lines, title, is_changed=is_changed)
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, example in zip(grid, examples, strict=False):
        _draw_photograph(axes, example)
    for axes in grid[len(examples) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=LABELLED, linestyle="--", label="labelled"),
        Line2D([], [], color=RIGHT, label="detected"),
        Line2D([], [], color=WRONG, label="detected, wrong"),
    ]
    add_lower_legend(figure, handles, f"detections with a score of {SHOWN:g} or more", 3)
    return figure


def _draw_photograph(axes: Axes, example: Example) -> None:
    with Image.open(example.photograph) as file:  # pixels as stored: no EXIF rotation
        image = file.convert("RGB")
    width, height = image.size
    image.thumbnail((LONGEST, LONGEST))
    axes.imshow(np.asarray(image), extent=(0, width, height, 0))
    there, found = example.labelled, example.found
    for box, is_ignored in zip(there.boxes, there.ignored, strict=True):
        _draw_box(axes, box, LABELLED, ":" if is_ignored else "--")
    of = matched(example)
    shown = [place for place, score in enumerate(found.scores) if score >= SHOWN]
    for place in sorted(shown, key=lambda each: found.scores[each]):  # the best on top
        colour = WRONG if of[place] is None else RIGHT
        _draw_box(axes, found.boxes[place], colour, "-")
        x, y = found.boxes[place][:2]
        axes.text(
            max(0.0, x),
            max(0.0, y),
            visible(f"{found.names[place]} {found.scores[place]:.2f}"),
            fontsize=SMALL - 2,
            va="top",
            color="black",
            parse_math=False,
            clip_on=True,
            bbox={"facecolor": colour, "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )
    name = f"{'best' if example.is_best else 'worst'}: {Path(example.photograph).name}"
    axes.set_title(visible(name), fontsize=SMALL, parse_math=False)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])


def _draw_box(axes: Axes, box: Box, colour: str, line: str) -> None:
    x, y, right, bottom = box
    axes.add_patch(
        Rectangle(
            (x, y), right - x, bottom - y, fill=False, edgecolor=colour, linestyle=line,
            linewidth=1.4,
        )
    )  # fmt: skip
