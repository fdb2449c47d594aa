"""The picture of detectors' training: loss against iterations."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.curves import ROUND
from resnet_repro.report.pictures.style import (
    MOST_STYLES,
    add_side_legend,
    clean_axes,
    line_style,
    new_figure,
)
from resnet_repro.report.tables import Table


def draw_losses(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw the training loss against iterations, one seed of each row: the lowest that has ended.

    Returns:
        The figure; None if no row has such a curve, as in image classification.
    """
    there = {name: [r for r in each if r.loss_curve] for name, each in results.items()}
    rows: dict[str, list[str]] = {}  # of each run, which several rows may test
    shown: dict[str, Result] = {}
    for name, each in there.items():
        if each:
            result = next((r for r in each if r.ended), each[0])
            shown.setdefault(result.run, result)
            rows.setdefault(result.run, []).append(name)
    if not shown or len(shown) > MOST_STYLES:
        return None
    figure = new_figure(7.6, max(3.9, 1.0 + 0.2 * len(shown)), plan.paper.title,
                        is_changed=table.is_changed)  # fmt: skip
    axes = figure.subplots()
    for index, (run, result) in enumerate(shown.items()):
        style = line_style(index)
        axes.plot(
            *zip(*result.loss_curve, strict=True),
            color=style["color"],
            linestyle=style["linestyle"],
            linewidth=1.0,
            label="\n".join(rows[run]),
        )
    axes.set(xlabel="iterations", ylabel="training loss")
    highest = max(loss for result in shown.values() for _, loss in result.loss_curve)
    axes.set_ylim(0, 1.05 * highest)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=ROUND))
    clean_axes(axes)
    add_side_legend(axes, None)
    return figure
