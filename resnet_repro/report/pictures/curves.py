"""The picture of single runs: error, or what tests of detectors are summed up by, by iterations."""

from dataclasses import replace
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_repro.judge.measures import first_measure
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.crowd import draw_crowd
from resnet_repro.report.pictures.style import (
    MOST_STYLES,
    add_side_legend,
    clean_axes,
    line_style,
    new_figure,
)
from resnet_repro.report.pictures.values import case_labels, case_title
from resnet_repro.report.tables import Table

NUM_MARKS = 7  # markers on a curve
MOST_CASES = 12  # of a sweep, whose curves are often close to each other
ROUND = [1, 2, 5, 10]  # steps between the numbers at an axis


def draw_curves(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw error against iterations, thin for training and bold for testing ([He15] Fig. 6).

    A detector's curve is its mAP, the recall of its proposals, or its error of localisation. It has
    none for training, whose errors are those of sampled anchors or regions.
    One seed of each row is drawn: the lowest that has ended, otherwise the lowest. Of more rows
    than can be told apart (`MOST_STYLES`; in a sweep `MOST_CASES`) only the test curves are drawn,
    as `draw_crowd` says.

    Returns:
        The figure; None if no row has a curve.
    """
    if plan.sweep:  # a run may also be that of a row that the table does not show
        results = {line.name: results.get(line.name, []) for line in table.lines}
    detectors = {row.name for row in plan.rows if row.config and row.config.detector.is_used}
    shown = {
        name: replace(result, train_curve=[]) if name in detectors else result
        for name, result in _one_each(results).items()
    }
    if not shown:
        return None
    is_crowd = len(shown) > (MOST_CASES if plan.sweep else MOST_STYLES)
    height = 3.9 if is_crowd else max(3.9, 1.0 + 0.2 * len(shown))  # the legend has a line per row
    figure = new_figure(7.6, height, plan.paper.title, is_changed=table.is_changed)
    axes = figure.subplots()
    top = _top(plan, [result.test_curve[-1][1] for result in shown.values()])
    if is_crowd:
        draw_crowd(figure, axes, plan, shown)
    else:
        _draw_each(axes, plan, shown, top)
    last = max(at for r in shown.values() for at, _ in (*r.train_curve, *r.test_curve))
    what = first_measure(plan).curve
    axes.set(xlabel="iterations", ylabel=f"{what} (%)", ylim=(0, top))
    axes.set_xlim(0, 1.02 * last)  # room for the last marks
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=ROUND))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    clean_axes(axes)
    if last >= 10_000:
        axes.ticklabel_format(axis="x", style="sci", scilimits=(4, 4), useMathText=True)
    return figure


def _draw_each(axes: Axes, plan: Plan, shown: dict[str, Result], top: float) -> None:
    """Draw both curves of each row, in a style of its own."""
    labels = case_labels(plan)
    for index, (name, result) in enumerate(shown.items()):
        style, end = line_style(index), result.test_curve[-1][1]
        above = f" (ends at {end:.0f})" if end > top else ""
        if result.train_curve:
            axes.plot(*zip(*result.train_curve, strict=True), color=style["color"], linewidth=0.7)
        every = max(1, len(result.test_curve) // NUM_MARKS)
        start = index * every // len(shown)  # keeps the marks of close curves apart
        axes.plot(
            *zip(*result.test_curve, strict=True),
            **style,
            linewidth=1.9,
            markersize=5,
            markevery=(start, every),
            label=f"{labels.get(name, name)}{above}",
            zorder=3,
        )
    has_training = any(result.train_curve for result in shown.values())
    title = "bold with marks: test, thin: training" if has_training else "test"
    add_side_legend(axes, f"{title}\n{case_title(plan)}".rstrip())


def _one_each(results: dict[str, list[Result]]) -> dict[str, Result]:
    """Return the run to draw for each row; a run that several rows share is drawn once."""
    shown: dict[str, Result] = {}
    drawn: set[str] = set()
    for name, each in results.items():
        with_curves = [r for r in each if r.test_curve and r.run not in drawn]
        drawn |= {r.run for r in with_curves}
        if with_curves:
            shown[name] = next((r for r in with_curves if r.ended), with_curves[0])
    return shown


def _top(plan: Plan, ends: list[float]) -> float:
    """Return the top of the axis, %: the paper's, if most curves end below it.

    Otherwise a multiple of ten above the highest final value.
    """
    top = plan.paper.max_error
    if top is None or median(ends) > top:
        return min(100, 10 * (max(ends) // 10 + 3))
    return top
