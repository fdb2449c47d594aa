"""Pictures in the form of the papers' figures, for experiments whose `paper.figure` names one."""

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from resnet_repro.judge.measures import first_measure
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.curves import NUM_MARKS
from resnet_repro.report.pictures.style import (
    COLOURS,
    SMALL,
    add_side_legend,
    clean_axes,
    label_round_numbers,
    line_style,
    new_figure,
)
from resnet_repro.report.tables import Table
from resnet_repro.settings.model import ModelConfig


def draw_responses(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw the standard deviations of the layers' responses, in order and sorted ([He15] Fig. 7).

    Plain networks are dashed. Of several seeds the lowest that was measured is drawn.

    Returns:
        The figure; None if no responses were measured.
    """
    shown = {
        name: result.evaluations["responses"]["std"]
        for name, each in results.items()
        for result in [result for result in each if "responses" in result.evaluations][:1]
    }
    if not shown:
        return None
    figure = new_figure(6.4, 5.6, plan.paper.title, is_changed=table.is_changed)
    in_order, by_size = figure.subplots(2, 1)
    models = {row.name: row.config.model for row in plan.rows if row.config}
    plain = {
        name
        for name, model in models.items()
        if isinstance(model, ModelConfig) and model.shortcut == "none"
    }
    for index, (name, stds) in enumerate(shown.items()):
        style = {**line_style(index), "linestyle": "--" if name in plain else "-", "linewidth": 1.3}
        layers = range(1, len(stds) + 1)
        marks = {"markersize": 4, "markevery": max(1, len(stds) // NUM_MARKS)}
        in_order.plot(layers, stds, label=name, **style, **marks)
        by_size.plot(layers, sorted(stds, reverse=True), label=name, **style, **marks)
    in_order.set(xlabel="layer, in order", ylabel="standard deviation", ylim=(0, None))
    by_size.set(xlabel="layer, sorted by magnitude", ylabel="standard deviation", ylim=(0, None))
    for axes in (in_order, by_size):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        clean_axes(axes)
    add_side_legend(in_order, None)
    return figure


def draw_size(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw the error against parameters, one line for cardinality, one for width ([Xie17] Fig. 7).

    Bars are standard errors of the mean over seeds, as in the paper. Crosses are the paper's
    numbers.

    Returns:
        The figure; None without results of ours.
    """
    configs = {row.name: row.config for row in plan.rows if row.config}
    lines = [line for line in table.lines if line.name in configs and line.params]
    if not any(line.ours for line in lines):
        return None
    figure = new_figure(5.2, 3.9, plan.paper.title, is_changed=table.is_changed)
    axes, measure = figure.subplots(), first_measure(plan)
    series = {"more groups of 64 channels": "x64d", "one group, wider": "1x"}
    for (label, part), colour, marker in zip(series.items(), COLOURS, "os", strict=False):
        points = []
        for line in lines:
            model = configs[line.name].model
            cardinality = (model.cardinality if isinstance(model, ModelConfig) else None) or ""
            if line.ours and (cardinality.endswith(part) or cardinality.startswith(part)):
                error = (line.ours.std or 0.0) / line.ours.num_runs**0.5
                points.append(((line.params or 0) / 1e6, line.ours.mean, error))
        if points:
            sizes, errors, bars = zip(*sorted(points), strict=True)
            axes.errorbar(sizes, errors, bars, color=colour, marker=marker, capsize=3, label=label)
    printed = [
        (line.params / 1e6, value)
        for line in lines
        if line.params and (value := measure.printed(line.paper).error) and not line.shortened
    ]
    if printed:
        axes.plot(*zip(*printed, strict=True), "x", color="0.3", markersize=8, label="the paper")
    axes.set(xlabel="parameters (millions)", ylabel=f"{measure.name} (%)", xscale="log")
    axes.xaxis.set_minor_locator(NullLocator())
    clean_axes(axes)
    label_round_numbers(axes.xaxis)
    axes.legend(fontsize=SMALL, frameon=False)
    return figure


Draw = Callable[[Plan, Table, dict[str, list[Result]]], Figure | None]


class Picture(NamedTuple):
    """A picture of a table.

    Attributes:
        draw: The function that draws it, or returns None if it has nothing to show.
        caption: The sentence below it on the HTML page; `{curve}` and `{measure}` are the table's.
    """

    draw: Draw
    caption: str


# By the name in an experiment's `paper.figure`; `settings.experiment` checks these names.
FIGURES = {
    "size": Picture(draw_size, "{measure} against parameters, as in the paper's figure."),
    "responses": Picture(
        draw_responses, "Standard deviations of the layers' responses, in order and sorted."
    ),
}
