"""Pictures of errors or other measures against the networks' sizes: depth, parameters, ..."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from resnet_repro.judge.measures import first_measure
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.series import Point, make_points, sort_series
from resnet_repro.report.pictures.style import (
    add_lower_legend,
    clean_axes,
    label_each_size,
    label_round_numbers,
    line_style,
    new_figure,
)
from resnet_repro.report.tables import Table
from resnet_repro.settings.model import ModelConfig

MIN_DEPTHS = 3
MIN_RATIO = 1.5  # largest to smallest size; with a smaller ratio the picture is not drawn
NO_BAR = float("nan")
Size = Callable[[Point], float]


def draw_depth(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw error against layers, if a table has `MIN_DEPTHS` depths ([He15] Fig. 6, Table 6).

    Returns:
        The figure; None with fewer depths, or without results of ours.
    """
    points = [p for p in make_points(plan, results) if isinstance(p.config.model, ModelConfig)]
    depths = {_layers(point) for point in points}
    if len(depths) < MIN_DEPTHS or all(point.ours is None for point in points):
        return None
    panels = _by_data(points)
    figure = new_figure(1.2 + 4.2 * len(panels), 4.3, plan.paper.title, is_changed=table.is_changed)
    series = sort_series(points, _layers)
    for axes, (data, each) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        _draw_panel(axes, data, series, _layers)
        label_each_size(axes, sorted({_layers(point) for point in each}))
        axes.set(xlabel="layers", ylabel=f"{first_measure(plan).name} on {data} (%)")
    _add_legend(figure, series)
    return figure


def draw_cost(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw error against parameters and against multiply-adds, if the networks differ in them.

    Returns:
        The figure; None if they do not differ, without results of ours, or if the paper has such a
        figure, which is then drawn in the paper's form.
    """
    points = [
        point
        for point in make_points(plan, results)
        if point.row.exact and point.row.is_network_as_shipped
    ]
    if plan.paper.figure == "size" or all(point.ours is None for point in points):
        return None
    # Detectors have no multiply-adds of their own: these depend on the photograph.
    sizes = [size for size in SIZES if all(size(point) > 0 for point in points)]
    if not any(_differ([size(point) for point in points]) for size in sizes):
        return None
    panels = _by_data(points)
    width, height = 1.8 + 3.3 * len(sizes), 1.3 + 2.9 * len(panels)
    figure = new_figure(width, height, plan.paper.title, is_changed=table.is_changed)
    series = sort_series(points, _params)
    for row, data in zip(
        figure.subplots(len(panels), len(sizes), squeeze=False, sharey="row"), panels, strict=True
    ):
        for axes, size in zip(row, sizes, strict=True):
            _draw_panel(axes, data, series, size)
            label_round_numbers(axes.xaxis)
            axes.set_xlabel(SIZES[size])
        row[0].set_ylabel(f"{first_measure(plan).name} on {data} (%)")
    _add_legend(figure, series)
    return figure


def _layers(point: Point) -> float:
    assert isinstance(point.config.model, ModelConfig), "others have no depth"
    return point.config.model.depth


def _params(point: Point) -> float:
    return point.row.exact.params / 1e6 if point.row.exact else 0.0


def _multiply_adds(point: Point) -> float:
    exact = point.row.exact
    return exact.multiply_adds / 1e9 if exact and exact.multiply_adds else 0.0


SIZES: dict[Size, str] = {
    _params: "parameters (millions)",
    _multiply_adds: "multiply-adds (billions)",
}


def _differ(sizes: list[float]) -> bool:
    return max(sizes) >= MIN_RATIO * min(sizes)


def _by_data(points: Sequence[Point]) -> dict[str, list[Point]]:
    panels: dict[str, list[Point]] = {}
    for point in points:
        panels.setdefault(point.config.data.title, []).append(point)
    return panels


def _draw_panel(axes: Axes, data: str, series: dict[str, list[Point]], size: Size) -> None:
    """Draw the points of one set of images, a line per series: ours filled, the paper's hollow."""
    for index, each in enumerate(series.values()):
        here = sorted((point for point in each if point.config.data.title == data), key=size)
        style = line_style(index)
        ours = [(size(p), p.ours, p.bar or NO_BAR) for p in here if p.ours is not None]
        paper = [(size(p), p.paper) for p in here if p.paper is not None]
        if paper:
            _draw_paper(axes, paper, style)
        if ours:
            sizes, errors, bars = zip(*ours, strict=True)
            axes.errorbar(sizes, errors, bars, **style, markersize=5, linewidth=1.3, capsize=3)
    axes.set_xscale("log")
    axes.margins(x=0.08)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    clean_axes(axes)


def _draw_paper(axes: Axes, points: list[tuple[float, float]], style: dict[str, Any]) -> None:
    axes.plot(
        *zip(*points, strict=True),
        color=style["color"],
        marker=style["marker"],
        linestyle="none",
        markersize=11,
        markerfacecolor="none",
        markeredgewidth=1.0,
    )


def _add_legend(figure: Figure, series: dict[str, list[Point]]) -> None:
    handles = [
        Line2D([], [], **line_style(index), markersize=5, linewidth=1.3, label=name)
        for index, (name, each) in enumerate(series.items())
        if any(point.ours is not None or point.paper is not None for point in each)
    ]
    # Two columns if they fit, at about 13 letters per inch.
    fits = 2 * max(len(str(each.get_label())) for each in handles) < 13 * figure.get_figwidth()
    words = _marks_in_words([point for each in series.values() for point in each])
    add_lower_legend(figure, handles, words, 2 if len(handles) > 1 and fits else 1)


def _marks_in_words(points: Sequence[Point]) -> str:
    interval = " and its 95 % interval" if any(point.bar for point in points) else ""
    paper = "; hollow: the paper" if any(point.paper is not None for point in points) else ""
    return f"filled: our mean{interval}{paper}"
