"""The picture of single runs: error against iterations."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.style import add_side_legend, clean_axes, line_style, new_figure
from resnet_repro.report.tables import Table

NUM_MARKS = 7  # markers on a curve
ROUND = [1, 2, 5, 10]  # steps between the numbers at an axis


def draw_curves(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw error against iterations, thin for training and bold for testing ([He15] Fig. 6).

    One seed of each row is drawn: the lowest that has ended, otherwise the lowest.

    Returns:
        The figure; None if no row has a curve.
    """
    shown = _one_each(results)
    if not shown:
        return None
    height = max(3.9, 1.0 + 0.2 * len(shown))  # the legend next to the axes has a line per row
    figure = new_figure(7.6, height, plan.paper.title, is_changed=table.is_changed)
    axes = figure.subplots()
    for index, (name, result) in enumerate(shown.items()):
        style = line_style(index)
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
            label=name,
            zorder=3,
        )
    last = max(at for r in shown.values() for at, _ in (*r.train_curve, *r.test_curve))
    top = _top(plan, [result.test_curve[-1][1] for result in shown.values()])
    axes.set(xlabel="iterations", ylabel="error (%)", ylim=(0, top))
    axes.set_xlim(0, 1.02 * last)  # room for the last marks
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=ROUND))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    clean_axes(axes)
    if last >= 10_000:
        axes.ticklabel_format(axis="x", style="sci", scilimits=(4, 4), useMathText=True)
    add_side_legend(axes, "bold with marks: test, thin: training")
    return figure


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
    """Return the top of the error axis, %: the paper's, if a curve ends below it.

    Otherwise a multiple of ten above the worst final error.
    """
    top = plan.paper.max_error
    if top is None or min(ends) > top:
        return min(100, 10 * (max(ends) // 10 + 3))
    return top
