"""The picture of a sweep: error against the value of a setting, or a map over two settings."""

from collections.abc import Mapping, Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from resnet_repro.judge.measures import first_measure
from resnet_repro.judge.outcomes import sort_all, spreads
from resnet_repro.judge.statistics import half_width_of_mean
from resnet_repro.judge.verdicts import spread_of
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.maps import draw_maps
from resnet_repro.report.pictures.style import (
    SMALL,
    add_lower_legend,
    clean_axes,
    label_values,
    line_style,
    new_figure,
)
from resnet_repro.report.pictures.values import LONGEST, is_logarithmic, name_places, places
from resnet_repro.report.tables import Line, Table
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.settings.sweep import value_text
from resnet_repro.visible import visible

NO_BAR = float("nan")
APART = 0.012  # distance of two networks' points at one value, a fraction of the axis
MOST_BARS = 40  # of a network; more are drawn as a band
MOST_NAMES = 40  # below the axis
LETTER = 0.08  # width of a letter of a name below the axis, inches
FAILED = 0.03  # height of the marks of failed runs, a fraction of the axis; that of one network


def draw_sweep(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw the errors of a sweep over one or two settings, a line or a map for each network.

    Returns:
        The figure; None without results, or with more settings.
    """
    lines = [line for line in table.lines if line.values]
    if not any(line.ours or line.failed for line in lines) or len(table.swept) > 2:
        return None
    networks: dict[str, list[Line]] = {}
    for line in lines:
        networks.setdefault(line.network, []).append(line)
    if len(table.swept) == 2:
        return draw_maps(plan, table, networks)  # a cell has the spread in the table
    return _draw_lines(plan, table, networks, _bars(plan, results))


def _bars(plan: Plan, results: dict[str, list[Result]]) -> dict[str, float]:
    """Return half the width of the 95 % interval of each row's mean, where it is known."""
    outcomes = sort_all(plan, results)
    measure = first_measure(plan)
    known = spreads(outcomes.values(), measure)
    return {
        name: half_width_of_mean(len(runs), spread)
        for name, each in outcomes.items()
        if (runs := each.by_run(measure))
        if (spread := spread_of(runs, PaperValues(), known[each.data])[0])
    }


def _draw_lines(
    plan: Plan, table: Table, networks: Mapping[str, Sequence[Line]], bars: dict[str, float]
) -> Figure:
    """Draw error against the values of a setting; those that are no numbers next to each other.

    Bars are 95 % intervals; of more than `MOST_BARS` values of a number they are a band. Crosses at
    the lower edge, a height for each network, mark values with failed runs.
    """
    (key,) = table.swept
    found, is_number = places([line.values[key] for each in networks.values() for line in each])
    width = 6.4 if is_number else min(16.0, max(6.4, 1.2 + 0.3 * len(found)))
    longest = max(map(len, found))
    is_upright = not is_number and longest * LETTER > (width - 1.5) / len(found)
    height = 4.2 + is_upright * LETTER * min(longest, LONGEST)
    figure = new_figure(width, height, plan.paper.title, is_changed=table.is_changed)
    axes = figure.subplots()
    axes.set(xlabel=key, ylabel=f"{first_measure(plan).name} (%)")
    axes.margins(x=0.08)
    is_log = is_number and is_logarithmic(list(found.values()))
    for index, lines in enumerate(networks.values()):
        near = _next_to_others(found, index, len(networks), is_log=is_log)
        done = [(near[value_text(line.values[key])], line) for line in lines if line.ours]
        _draw_network(axes, done, bars, index, is_line=is_number)
    if not any(line.ours for lines in networks.values() for line in lines):
        axes.set_yticks([])
    has_failed = _mark_failed(
        axes,
        [
            [found[value_text(line.values[key])] for line in lines if line.failed]
            for lines in networks.values()
        ],
    )
    if not is_number:
        names = [fill(visible(text), LONGEST) for text in found] if is_upright else list(found)
        name_places(axes.xaxis, names, MOST_NAMES, SMALL)
        axes.tick_params(axis="x", labelrotation=90 if is_upright else 0)
    elif len(found) == 1:
        axes.set_xticks(list(found.values()), list(found))
    else:
        if is_log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        label_values(axes.xaxis, sorted(found.values()))
    clean_axes(axes)
    texts = ["bars: 95 % intervals of the mean"] if bars else []
    if any(line.is_default and line.ours for lines in networks.values() for line in lines):
        texts.append("ring: the experiment's value")
    _add_legend(figure, list(networks), [*texts, *["x: failed runs"] * has_failed])
    return figure


def _next_to_others(
    found: Mapping[str, float], index: int, number: int, *, is_log: bool
) -> dict[str, float]:
    """Return the places of one of several networks, so that its bars do not cover the others'."""
    low, high = min(found.values()), max(found.values())
    shift = min(APART, 0.3 / (number * len(found))) * (index - (number - 1) / 2)
    if is_log:
        return {text: place * (high / low) ** shift for text, place in found.items()}
    return {text: place + (high - low) * shift for text, place in found.items()}


def _draw_network(
    axes: Axes,
    done: Sequence[tuple[float, Line]],
    bars: Mapping[str, float],
    index: int,
    *,
    is_line: bool,
) -> None:
    """Draw the means of a network at their places, with their intervals."""
    style = line_style(index)
    if not is_line:
        style["linestyle"] = "none"
    across = [place for place, _ in done]
    means = [line.ours.mean for _, line in done if line.ours]
    widths = [bars.get(line.name, NO_BAR) for _, line in done]
    if is_line and len(done) > MOST_BARS:
        low, high = ([m + sign * w for m, w in zip(means, widths, strict=True)] for sign in (-1, 1))
        axes.fill_between(across, low, high, color=style["color"], alpha=0.2, linewidth=0)
        axes.plot(across, means, color=style["color"], linestyle=style["linestyle"], linewidth=1.3)
    else:
        axes.errorbar(across, means, widths, **style, markersize=6, linewidth=1.3, capsize=3)
    default = [(place, line.ours.mean) for place, line in done if line.is_default and line.ours]
    for place, mean in default:
        axes.plot(
            [place],
            [mean],
            color=style["color"],
            marker="o",
            linestyle="none",
            markersize=13,
            markerfacecolor="none",
        )


def _mark_failed(axes: Axes, failed: Sequence[Sequence[float]]) -> bool:
    """Mark the places with failed runs of each network, below the curves.

    Returns:
        Whether there are any.
    """
    those = [(index, each) for index, each in enumerate(failed) if each]
    room = 1 + FAILED * (len(those) + 1)
    low, high = axes.get_ylim()
    if those:
        axes.set_ylim(high - room * (high - low), high)
    for height, (index, each) in enumerate(those, start=1):
        axes.plot(
            each,
            [FAILED * height / room] * len(each),
            color=line_style(index)["color"],
            marker="x",
            linestyle="none",
            markersize=5,
            transform=axes.get_xaxis_transform(),
        )
    return bool(those)


def _add_legend(figure: Figure, networks: list[str], texts: Sequence[str]) -> None:
    handles = [
        Line2D([], [], **line_style(index), markersize=5, linewidth=1.3, label=name)
        for index, name in enumerate(networks)
    ]
    add_lower_legend(figure, handles, "; ".join(texts), min(3, len(handles)))
