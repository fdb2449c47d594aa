"""The picture of detectors' precision against recall, class by class."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resnet_repro.judge.measures import first_measure
from resnet_repro.judge.outcomes import sort_all
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.records.curves import RECALLS, Curves, read_curves
from resnet_repro.records.runs import run_folder
from resnet_repro.report.pictures.style import (
    SMALL,
    add_lower_legend,
    clean_axes,
    line_style,
    new_figure,
)
from resnet_repro.report.tables import Table
from resnet_repro.visible import visible

MOST_PANELS = 20  # classes; of more, their mean is drawn
MOST_ROWS = 7  # that differ in colour
COLUMNS = 5
PANEL = 1.75  # width and height of a panel, inches
RECALL = [place / (RECALLS - 1) for place in range(RECALLS)]


def draw_precision(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw precision against recall, a panel for each class and a line for each row.

    One seed of each row is drawn, the lowest whose curves are in its folder. Of more than
    `MOST_PANELS` classes the mean is drawn.

    Returns:
        The figure; None where no run's folder here has curves.
    """
    shown = _one_each(plan, results)
    if not shown:
        return None
    panels = _panels(shown)
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    width, height = max(4.2, 0.5 + PANEL * columns), 1.6 + max(PANEL * lines, 2.6 / lines)
    figure = new_figure(width, height, plan.paper.title, is_changed=table.is_changed)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, (title, curves) in zip(grid, panels.items(), strict=False):
        _draw_panel(axes, title, [curves.get(name) for name in shown])
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for place, axes in enumerate(grid[: len(panels)]):
        if place + columns >= len(panels):  # nothing below
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("recall", fontsize=SMALL)
        if place % columns == 0:
            axes.set_ylabel("precision", fontsize=SMALL)
    handles = [Line2D([], [], **_style(index), label=name) for index, name in enumerate(shown)]
    small = ", or less for small objects" if first_measure(plan).key == "det" else ""
    text = f"overlap (IoU) of at least .5{small}; precision at this recall or above"
    add_lower_legend(figure, handles, text, min(len(handles), max(1, columns - 1)))
    return figure


def _one_each(plan: Plan, results: dict[str, list[Result]]) -> dict[str, Curves]:
    """Return the curves of one run of each row that has them here."""
    shown = {}
    for name, outcome in sort_all(plan, results).items():
        for result in outcome.good:
            run = outcome.row.ensemble or outcome.row.run(result.seed)
            curves = read_curves(run_folder(run, plan.results), outcome.row.protocol)
            if curves:
                shown[name] = curves
                break
    return dict(list(shown.items())[:MOST_ROWS])


def _panels(shown: Mapping[str, Curves]) -> dict[str, Curves]:
    """Return the curves by the title of a panel, then by row."""
    classes = list(dict.fromkeys(each for curves in shown.values() for each in curves))
    if len(classes) <= MOST_PANELS:
        return {
            each: {name: curves[each] for name, curves in shown.items() if each in curves}
            for each in classes
        }
    means = {
        name: [sum(at) / len(at) for at in zip(*curves.values(), strict=True)]
        for name, curves in shown.items()
    }
    return {f"mean of {len(classes)} classes": means}


def _style(index: int) -> dict[str, Any]:
    return {"color": line_style(index)["color"], "linewidth": 1.2}


def _draw_panel(axes: Axes, title: str, curves: Sequence[Sequence[float] | None]) -> None:
    for index, curve in enumerate(curves):
        if curve is not None:
            axes.plot(RECALL, curve, drawstyle="steps-pre", **_style(index))
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_title(visible(title), fontsize=SMALL, parse_math=False)
    clean_axes(axes)
