"""The picture of a table's verdicts: each difference from the paper with its interval."""

from textwrap import fill
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from resnet_repro.judge.measures import TEST, Measure, first_measure
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result
from resnet_repro.report.pictures.style import SMALL, clean_axes, new_figure, without_math
from resnet_repro.report.tables import Table
from resnet_repro.visible import visible

# Colour and marker of each verdict; the markers of better and worse point away from zero, here for
# measures of which lower is better.
MARKS: dict[str, dict[str, Any]] = {
    "matches": {"color": "#009E73", "marker": "o"},
    "better": {"color": "#0072B2", "marker": "<"},
    "worse": {"color": "#D55E00", "marker": ">"},
    "undecided": {"color": "0.35", "marker": "D", "markerfacecolor": "white"},
}
BAND = "#DDDDDD"
LONGEST = 34  # characters of a row's name in a line


def draw_differences(plan: Plan, table: Table, results: dict[str, list[Result]]) -> Figure | None:
    """Draw our value minus the paper's with its 95 % interval for each row, and the margin.

    Returns:
        The figure; None if no row has an interval.
    """
    del results  # the table has all that is needed
    shown = [
        (line.name, line.verdict.word, line.verdict.interval)
        for line in table.lines
        if line.verdict and line.verdict.interval
    ]
    if not shown:
        return None
    measure = first_measure(plan)
    height = 1.7 + 0.3 * len(shown)
    figure = new_figure(7.2, height, plan.paper.title, is_changed=table.is_changed)
    axes = figure.subplots()
    margin, marks = plan.paper.margin, _marks(measure)
    axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color="0.2", linewidth=0.8, zorder=1)
    for place, (_, word, interval) in enumerate(shown):
        arms = [[interval.difference - interval.low], [interval.high - interval.difference]]
        axes.errorbar([interval.difference], [place], xerr=arms, **marks[word], capsize=3,
                      markersize=6, linestyle="none", linewidth=1.3)  # fmt: skip
        axes.annotate(
            word,
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=SMALL,
        )
    names = [fill(visible(name), LONGEST) for name, _, _ in shown]
    axes.set_yticks(range(len(shown)), names)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    what = "test errors" if measure is TEST else measure.name
    axes.set_xlabel(f"difference of expected {what}, ours minus the paper's (points)")
    clean_axes(axes)
    axes.grid(visible=False, axis="y")
    _add_legend(figure, {word for _, word, _ in shown}, marks, margin)
    return figure


def _marks(measure: Measure) -> dict[str, dict[str, Any]]:
    if measure.lower_is_better:
        return MARKS
    turned = {"better": MARKS["worse"]["marker"], "worse": MARKS["better"]["marker"]}
    return {word: {**style, **({"marker": turned[word]} if word in turned else {})}
            for word, style in MARKS.items()}  # fmt: skip


def _add_legend(
    figure: Figure, words: set[str], marks: dict[str, dict[str, Any]], margin: float
) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], **style, linestyle="none", markersize=6, label=word)
        for word, style in marks.items()
        if word in words
    ]
    handles.append(Patch(color=BAND, label=f"within {margin:g} points"))
    without_math(figure.legend(handles=handles, ncols=5, fontsize=SMALL, frameon=False,
                           title="bars: 95 % intervals", title_fontsize=SMALL,
                           loc="outside lower center"))  # fmt: skip
