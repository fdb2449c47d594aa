"""Pictures in the papers' form."""

from pathlib import Path
from textwrap import fill

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from resnet_repro.plan import Plan
from resnet_repro.report.archive import Result
from resnet_repro.report.tables import Table

# Okabe and Ito's colours, which the colour-blind tell apart, dark enough for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def plot_curves(plan: Plan, results: dict[str, list[Result]]) -> list[Path]:
    """Draw error against iterations, thin for training and bold for testing ([He15] Fig. 6).

    One seed of each row is drawn: the lowest that has ended, else the lowest there is.

    Returns:
        The files written; none where no row has a curve.
    """
    shown, drawn = {}, set()
    for name, each in results.items():
        with_curves = [r for r in each if r.test_curve and r.run not in drawn]
        drawn |= {r.run for r in with_curves}  # rows may differ in the last test only
        if with_curves:
            shown[name] = next((r for r in with_curves if r.ended), with_curves[0])
    if not shown:
        return []
    figure = Figure(figsize=(5.2, 3.9), layout="constrained")
    axes = figure.subplots()
    for colour, (name, result) in zip(_cycle(len(shown)), shown.items(), strict=True):
        if result.train_curve:
            axes.plot(*zip(*result.train_curve, strict=True), color=colour, linewidth=0.8)
        marker = "o" if len(result.test_curve) < 3 else None
        axes.plot(
            *zip(*result.test_curve, strict=True),
            color=colour,
            linewidth=2.2,
            marker=marker,
            label=name,
        )
    last = max(result.iteration for result in shown.values())
    ends = [result.test_curve[-1][1] for result in shown.values()]
    # The paper's axis, unless it would show nothing; else the next ten above the worst end.
    top = plan.paper.max_error
    if top is None or min(ends) > top:
        top = min(100, 10 * (max(ends) // 10 + 3))
    axes.set(
        xlabel="iterations",
        ylabel="error (%)",
        xlim=(0, last),
        ylim=(0, top),
        title=fill(plan.paper.title, 66),
    )
    axes.title.set(fontsize=9, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5 if top > 20 else 4))
    _plain_axes(axes)
    if last >= 10_000:
        axes.ticklabel_format(axis="x", style="sci", scilimits=(4, 4), useMathText=True)
    legend = axes.legend(
        title="bold: test, thin: training", fontsize=8, title_fontsize=8, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _save(figure, plan.folder, "curves")


def plot_figure(plan: Plan, table: Table, results: dict[str, list[Result]]) -> list[Path]:
    """Draw the picture that an experiment has beside its curves, if it has one.

    Returns:
        The files written; none where there is nothing to draw yet.
    """
    if plan.paper.figure == "size":
        return _plot_size(plan, table)
    if plan.paper.figure == "responses":
        return _plot_responses(plan, results)
    return []


def _plot_size(plan: Plan, table: Table) -> list[Path]:
    """Draw the error against parameters, one line for cardinality, one for width ([Xie17] Fig. 7).

    Bars are standard errors of the mean over seeds, as in the paper; crosses are its numbers.
    """
    figure = Figure(figsize=(5.2, 3.9), layout="constrained")
    axes = figure.subplots()
    configs = {row.name: row.config for row in plan.rows if row.config}
    lines = [line for line in table.lines if line.name in configs and line.params]
    series = {"more groups of 64 channels": "x64d", "one group, wider": "1x"}
    for (label, part), colour, marker in zip(series.items(), COLOURS, "os", strict=False):
        points = []
        for line in lines:
            cardinality = configs[line.name].model.cardinality or ""
            if line.ours and (cardinality.endswith(part) or cardinality.startswith(part)):
                error = (line.ours.std or 0.0) / line.ours.num_runs**0.5
                points.append(((line.params or 0) / 1e6, line.ours.mean, error))
        if points:
            sizes, errors, bars = zip(*sorted(points), strict=True)
            axes.errorbar(sizes, errors, bars, color=colour, marker=marker, capsize=3, label=label)
    if not axes.has_data():
        return []
    printed = [
        (line.params / 1e6, line.paper.error)
        for line in lines
        if line.params and line.paper.error and not line.shortened
    ]
    if printed:
        axes.plot(*zip(*printed, strict=True), "x", color="0.3", markersize=8, label="the paper")
    axes.set(xlabel="parameters (millions)", ylabel="test error (%)", xscale="log")
    axes.set_title(fill(plan.paper.title, 66), fontsize=9, parse_math=False)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if _within(tick, axes.get_xlim())]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    _plain_axes(axes)
    axes.legend(fontsize=8, frameon=False)
    return _save(figure, plan.folder, "size")


def _plot_responses(plan: Plan, results: dict[str, list[Result]]) -> list[Path]:
    """Draw the standard deviations of the layers' responses, in order and sorted ([He15] Fig. 7).

    Plain networks are dashed; of several seeds the lowest is drawn.
    """
    shown = {
        name: result.evaluations["responses"]["std"]
        for name, each in results.items()
        for result in each[:1]
        if "responses" in result.evaluations
    }
    if not shown:
        return []
    figure = Figure(figsize=(6.0, 5.6), layout="constrained")
    in_order, by_size = figure.subplots(2, 1)
    plain = {row.name for row in plan.rows if row.config and row.config.model.shortcut == "none"}
    for colour, (name, stds) in zip(_cycle(len(shown)), shown.items(), strict=True):
        style = {"color": colour, "linewidth": 1.4, "linestyle": "--" if name in plain else "-"}
        layers = range(1, len(stds) + 1)
        in_order.plot(layers, stds, label=name, **style)
        by_size.plot(layers, sorted(stds, reverse=True), label=name, **style)
    in_order.set_title(fill(plan.paper.title, 76), fontsize=9, parse_math=False)
    in_order.set(xlabel="layer, in order", ylabel="standard deviation", ylim=(0, None))
    by_size.set(xlabel="layer, sorted by magnitude", ylabel="standard deviation", ylim=(0, None))
    for axes in (in_order, by_size):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain_axes(axes)
    in_order.legend(fontsize=8, frameon=False)
    return _save(figure, plan.folder, "responses")


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _plain_axes(axes: Axes) -> None:
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _cycle(number: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(number)]


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    # Without a date and with fixed ids the same records give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "resnet-repro", "svg.fonttype": "none"}):
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], dpi=150)
    return paths
