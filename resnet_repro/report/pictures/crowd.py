"""Curves of more runs than can have a name each."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from resnet_repro.judge.measures import first_measure
from resnet_repro.plan import Plan, Row
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.style import (
    COLOURS,
    LINES,
    SMALL,
    add_lower_legend,
    add_side_legend,
    label_round_numbers,
)
from resnet_repro.report.pictures.values import (
    case_labels,
    case_title,
    colour_scale,
    is_logarithmic,
    places,
)
from resnet_repro.settings.sweep import value_text

COLOUR_MAP = "viridis_r"  # also differs in lightness, for greyscale print
GREY = "0.8"


def draw_crowd(figure: Figure, axes: Axes, plan: Plan, shown: Mapping[str, Result]) -> None:
    """Draw the test curves of many rows, with a colour bar or a short legend.

    In a sweep over one setting whose values are numbers, the colour is the value, and a colour bar
    says which; several networks differ in their lines. Otherwise the rows whose curves end best
    have a colour and a name each, and the others are grey.

    Args:
        figure: The figure, whose width the colour bar and the legend share.
        axes: Where to draw; the limits are left to the caller.
        plan: The experiment.
        shown: The run to draw for each row, by the row's name.
    """
    rows = {row.name: row for row in plan.rows if row.name in shown}
    networks: dict[str, list[Row]] = {}
    for row in rows.values():
        networks.setdefault(row.network, []).append(row)
    found, is_number = places([row.point[0][1] for row in rows.values() if row.point])
    one_setting = plan.sweep is not None and len(plan.sweep.keys) == 1
    if one_setting and is_number and len(networks) <= len(LINES):
        _colour_by_value(figure, axes, plan, networks, found, shown)
    else:
        _name_the_best(axes, plan, shown)


def _colour_by_value(
    figure: Figure,
    axes: Axes,
    plan: Plan,
    networks: Mapping[str, Sequence[Row]],
    found: Mapping[str, float],
    shown: Mapping[str, Result],
) -> None:
    values = list(found.values())
    scale = colour_scale(values)
    curves: LineCollection | None = None
    for line, rows in zip(LINES, networks.values(), strict=False):
        curves = LineCollection(
            [shown[row.name].test_curve for row in rows],
            array=[found[value_text(row.point[0][1])] for row in rows],
            cmap=COLOUR_MAP,
            norm=scale,
            linewidths=1.0,
            linestyles=line,
        )
        axes.add_collection(curves)
    assert curves is not None and plan.sweep is not None
    bar = figure.colorbar(curves, ax=axes)
    bar.set_label(plan.sweep.keys[0], fontsize=SMALL + 1)
    bar.ax.tick_params(labelsize=SMALL)
    if is_logarithmic(values):
        label_round_numbers(bar.ax.yaxis)
        bar.ax.yaxis.set_minor_locator(NullLocator())
    handles = [
        Line2D([], [], color="0.2", linestyle=line, linewidth=1.3, label=name)  # type: ignore[arg-type]
        for line, name in zip(LINES, networks, strict=False)
    ]
    what = f"test {first_measure(plan).curve}"
    add_lower_legend(figure, handles, f"{what} of one run of each value", len(handles))


def _name_the_best(axes: Axes, plan: Plan, shown: Mapping[str, Result]) -> None:
    labels = case_labels(plan)
    measure = first_measure(plan)
    is_lower = measure.lower_is_better
    order = sorted(shown, key=lambda name: shown[name].test_curve[-1][1], reverse=not is_lower)
    named, others = order[: len(COLOURS)], order[len(COLOURS) :]
    axes.add_collection(
        LineCollection([shown[name].test_curve for name in others], colors=GREY, linewidths=0.7)
    )
    for colour, name in zip(COLOURS, named, strict=True):
        axes.plot(
            *zip(*shown[name].test_curve, strict=True),
            color=colour,
            linewidth=1.3,
            label=labels.get(name, name),
            zorder=3,
        )
    axes.plot([], [], color=GREY, label=f"{len(others)} others")
    best = f"test {measure.curve}, the {'lowest' if is_lower else 'highest'} at the end"
    add_side_legend(axes, f"{best}\n{case_title(plan)}".rstrip())
