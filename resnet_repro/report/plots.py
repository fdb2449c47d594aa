"""Pictures in the papers' form."""

from pathlib import Path
from textwrap import fill

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_repro.plan import Plan
from resnet_repro.report.results import Result

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
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if last >= 10_000:
        axes.ticklabel_format(axis="x", style="sci", scilimits=(4, 4), useMathText=True)
    legend = axes.legend(
        title="bold: test, thin: training", fontsize=8, title_fontsize=8, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _save(figure, plan.folder, "curves")


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
