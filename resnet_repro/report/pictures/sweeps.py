"""The picture of a sweep: error against the value of a setting, or a map over two settings."""

from collections.abc import Sequence
from itertools import pairwise
from math import log

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from resnet_repro.judge.measures import TEST
from resnet_repro.judge.outcomes import sort_all, spreads
from resnet_repro.judge.statistics import half_width_of_mean
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.style import (
    SMALL,
    clean_axes,
    label_values,
    line_style,
    new_figure,
    without_math,
)
from resnet_repro.report.tables import Line, Table
from resnet_repro.settings.sweep import value_text

NO_BAR = float("nan")
APART = 0.012  # between the points of two networks at one value, of the values' range
LOGARITHMIC = 4  # ratio of the largest to the smallest value from which an axis may be logarithmic


def draw_sweep(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw the errors of a sweep over one or two settings, a line or a map for each network.

    Returns:
        The figure; None without results, or with more settings.
    """
    lines = [line for line in table.lines if line.values]
    if not any(line.ours or line.failed for line in lines) or len(table.swept) > 2:
        return None
    draw = _draw_lines if len(table.swept) == 1 else _draw_maps
    return draw(plan, table, lines, _bars(plan, results))


def _bars(plan: Plan, results: dict[str, list[Result]]) -> dict[str, float]:
    """Return half the width of the 95 % interval of each row's mean, where it is known."""
    outcomes = sort_all(plan, results)
    known = spreads(outcomes.values(), TEST)
    return {
        name: half_width_of_mean(len(values), spread)
        for name, each in outcomes.items()
        if (spread := known[each.data]) and (values := each.values(TEST))
    }


def _draw_lines(plan: Plan, table: Table, lines: Sequence[Line], bars: dict[str, float]) -> Figure:
    (key,) = table.swept
    networks = dict.fromkeys(line.network for line in lines)
    figure = new_figure(6.4, 4.2, plan.paper.title, is_changed=table.is_changed)
    axes = figure.subplots()
    values = list({value_text(line.values[key]): line.values[key] for line in lines}.values())
    ticks, is_number = _places(values)
    is_log = is_number and _is_logarithmic(list(ticks.values()))
    for index, network in enumerate(networks):
        style = line_style(index)
        places = _side_by_side(ticks, index, len(networks), is_log=is_log)
        here = [line for line in lines if line.network == network]
        done = [line for line in here if line.ours]
        axes.errorbar(
            [places[value_text(line.values[key])] for line in done],
            [line.ours.mean for line in done if line.ours],
            [bars.get(line.name, NO_BAR) for line in done],
            **{**style, "linestyle": style["linestyle"] if is_number else "none"},
            markersize=6,
            linewidth=1.3,
            capsize=3,
        )
        default = [line for line in done if line.is_default]
        axes.plot(
            [places[value_text(line.values[key])] for line in default],
            [line.ours.mean for line in default if line.ours],
            color=style["color"],
            marker="o",
            linestyle="none",
            markersize=13,
            markerfacecolor="none",
        )
        _mark_failed(axes, [places[value_text(line.values[key])] for line in here if line.failed])
    axes.set(xlabel=key, ylabel="test error (%)")
    axes.margins(x=0.08)
    if not is_number:
        axes.set_xticks(list(ticks.values()), list(ticks))
        for label in axes.get_xticklabels():
            label.set_parse_math(False)
    else:
        if is_log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        label_values(axes, sorted(ticks.values()))
    clean_axes(axes)
    _add_legend(figure, list(networks), lines, bool(bars))
    return figure


def _places(values: Sequence[object]) -> tuple[dict[str, float], bool]:
    """Return where each value is on the axis, and whether it is a number there."""
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        return {value_text(each): float(each) for each in values}, True  # type: ignore[arg-type]
    return {value_text(each): float(place) for place, each in enumerate(values)}, False


def _side_by_side(
    ticks: dict[str, float], index: int, number: int, *, is_log: bool
) -> dict[str, float]:
    """Return the places of one of several networks, so that its bars do not cover the others'."""
    low, high = min(ticks.values()), max(ticks.values())
    shift = min(APART, 0.3 / (number * len(ticks))) * (index - (number - 1) / 2)
    if is_log:
        return {text: place * (high / low) ** shift for text, place in ticks.items()}
    return {text: place + (high - low) * shift for text, place in ticks.items()}


def _is_logarithmic(values: Sequence[float]) -> bool:
    """Return whether values are spread more evenly by ratio than by difference."""
    numbers = sorted(values)
    if len(numbers) < 2 or numbers[0] <= 0 or numbers[-1] < LOGARITHMIC * numbers[0]:
        return False
    steps = [b - a for a, b in pairwise(numbers)]
    ratios = [log(b / a) for a, b in pairwise(numbers)]
    return len(numbers) == 2 or max(ratios) / min(ratios) < max(steps) / min(steps)


def _mark_failed(axes: Axes, places: Sequence[float]) -> None:
    """Mark values with failed runs at the lower edge."""
    for place in places:
        axes.annotate("fail", (place, 0.01), xycoords=("data", "axes fraction"), ha="center",
                      fontsize=SMALL)  # fmt: skip


def _add_legend(figure: Figure, networks: list[str], lines: Sequence[Line], has_bars: bool) -> None:
    handles = [
        Line2D([], [], **line_style(index), markersize=5, linewidth=1.3, label=name)
        for index, name in enumerate(networks)
    ]
    texts = ["bars: 95 % intervals of the mean"] if has_bars else []
    texts += ["ring: the experiment's value"] if any(line.is_default for line in lines) else []
    without_math(
        figure.legend(
            handles=handles,
            title="; ".join(texts),
            ncols=min(3, len(handles)),
            fontsize=SMALL,
            title_fontsize=SMALL,
            frameon=False,
            loc="outside lower center",
        )
    )


def _draw_maps(plan: Plan, table: Table, lines: Sequence[Line], bars: dict[str, float]) -> Figure:
    """Draw a map for each network: the mean error at each pair of values, the lowest in bold."""
    del bars  # a cell has the spread in the table
    across, down = table.swept[1], table.swept[0]
    columns = list(dict.fromkeys(value_text(line.values[across]) for line in lines))
    rows = list(dict.fromkeys(value_text(line.values[down]) for line in lines))
    networks = dict.fromkeys(line.network for line in lines)
    errors = [line.ours.mean for line in lines if line.ours]
    width = 1.6 + len(networks) * max(2.4, 0.75 * len(columns))
    figure = new_figure(
        width, 1.9 + 0.45 * len(rows), plan.paper.title, is_changed=table.is_changed
    )
    panels = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
    image = None
    for axes, network in zip(panels, networks, strict=True):
        here = {
            (value_text(line.values[down]), value_text(line.values[across])): line
            for line in lines
            if line.network == network
        }
        cells = [
            [each.ours.mean if (each := here.get((row, column))) and each.ours else NO_BAR
             for column in columns]
            for row in rows
        ]  # fmt: skip
        if errors:
            limits = {"vmin": min(errors), "vmax": max(errors)}
            image = axes.imshow(cells, cmap="cividis_r", aspect="auto", **limits)
        _write_cells(axes, here, rows, columns, errors)
        axes.set_title(network, fontsize=SMALL + 1, parse_math=False)
        axes.set_xticks(range(len(columns)), columns, fontsize=SMALL, parse_math=False)
        axes.set_yticks(range(len(rows)), rows, fontsize=SMALL, parse_math=False)
        axes.set_xlabel(across, fontsize=SMALL + 1)
    panels[0].set_ylabel(down, fontsize=SMALL + 1)
    if image is not None:
        bar = figure.colorbar(image, ax=panels)
        bar.set_label("test error (%)", fontsize=SMALL + 1)
        bar.ax.tick_params(labelsize=SMALL)
    return figure


def _write_cells(
    axes: Axes,
    here: dict[tuple[str, str], Line],
    rows: Sequence[str],
    columns: Sequence[str],
    errors: Sequence[float],
) -> None:
    """Write each cell's error; the lowest of the network is bold, the experiment's underlined."""
    means = [line.ours.mean for line in here.values() if line.ours]
    for (row, column), line in here.items():
        place = columns.index(column), rows.index(row)
        if line.ours is None:
            text, is_dark, is_best = "fail" if line.failed else "", False, False
        else:
            text, is_best = f"{line.ours.mean:.2f}", line.ours.mean == min(means)
            is_dark = line.ours.mean - min(errors) > 0.5 * (max(errors) - min(errors))
        axes.text(
            *place,
            f"[{text}]" if line.is_default and text else text,
            ha="center",
            va="center",
            fontsize=SMALL,
            fontweight="bold" if is_best else "normal",
            color="white" if is_dark else "black",
            parse_math=False,
        )
