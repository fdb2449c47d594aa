"""The picture of a sweep over two settings: a map of the errors for each network."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnet_repro.judge.measures import Measure, first_measure
from resnet_repro.plan import Plan
from resnet_repro.report.pictures.style import SMALL, new_figure
from resnet_repro.report.pictures.values import name_places, texts_in_order
from resnet_repro.report.tables import Line, Table
from resnet_repro.settings.sweep import value_text

NOTHING = float("nan")
MOST_NUMBERS = (30, 16)  # rows and columns of a map with numbers in its cells
WIDEST = 14.0  # inches; maps that do not fit next to each other go below
LETTER = 0.075  # width of a letter, inches

Cells = dict[tuple[str, str], Line]


def draw_maps(plan: Plan, table: Table, networks: Mapping[str, Sequence[Line]]) -> Figure:
    """Draw a map for each network: the mean error (or other measure) at each pair of values.

    The best of each network is bold, and the experiment's own values are in brackets. A map of
    more than `MOST_NUMBERS` rows or columns has no numbers: a star and a square mark these, and a
    cross failed runs.

    Args:
        plan: The experiment.
        table: Its table, of a sweep over two settings.
        networks: The lines of each network.
    """
    down, across = table.swept
    every = [line for lines in networks.values() for line in lines]
    rows = texts_in_order([line.values[down] for line in every])
    columns = texts_in_order([line.values[across] for line in every])
    has_numbers = len(rows) <= MOST_NUMBERS[0] and len(columns) <= MOST_NUMBERS[1]
    widths = [LETTER * (len(each) + 2) for each in columns] if has_numbers else [0.1]
    width = max(2.4, max(0.75, *widths) * len(columns)) if has_numbers else 5.0
    height = 0.45 * len(rows) if has_numbers else 4.0
    per_line = max(1, min(len(networks), int((WIDEST - 1.6) / width)))
    num_lines = -(-len(networks) // per_line)
    left = LETTER * max(map(len, rows))
    figure = new_figure(
        1.6 + left + per_line * width,
        1.3 + num_lines * (0.8 + height),
        plan.paper.title,
        is_changed=table.is_changed,
    )
    panels = figure.subplots(num_lines, per_line, squeeze=False, sharey=True).flatten()
    values, measure = [line.ours.mean for line in every if line.ours], first_measure(plan)
    image = None
    for axes, (network, lines) in zip(panels, networks.items(), strict=False):
        cells = {(value_text(x.values[down]), value_text(x.values[across])): x for x in lines}
        grid = [[_mean(cells.get((row, column))) for column in columns] for row in rows]
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        if values:
            limits = {"vmin": min(values), "vmax": max(values)}
            image = axes.imshow(grid, cmap="cividis_r", aspect="auto", **limits)
        mark = _write_cells if has_numbers else _mark_cells
        mark(axes, cells, rows, columns, values, _best(cells, measure))
        axes.set_title(network, fontsize=SMALL + 1, parse_math=False)
        axes.set_xlabel(across, fontsize=SMALL + 1)
        axes.set_ylabel(down if axes in panels[::per_line] else "", fontsize=SMALL + 1)
        name_places(axes.xaxis, columns, MOST_NUMBERS[1], SMALL)
        name_places(axes.yaxis, rows, MOST_NUMBERS[0], SMALL)
    for axes in panels[len(networks) :]:
        axes.set_visible(False)
    if image is not None:
        bar = figure.colorbar(image, ax=list(panels))
        bar.set_label(f"{measure.name} (%)", fontsize=SMALL + 1)
        bar.ax.tick_params(labelsize=SMALL)
    figure.supxlabel(_legend(every, measure, has_numbers=has_numbers), fontsize=SMALL)
    return figure


def _mean(line: Line | None) -> float:
    return line.ours.mean if line and line.ours else NOTHING


def _legend(lines: Sequence[Line], measure: Measure, *, has_numbers: bool) -> str:
    """Return what the marks mean that are in the maps."""
    texts = []
    if any(line.ours for line in lines):
        best = "lowest" if measure.lower_is_better else "highest"
        texts.append(f"{'bold' if has_numbers else 'star'}: {best} of the network")
    if any(line.is_default and (line.ours or line.failed) for line in lines):
        texts.append(f"{'[brackets]' if has_numbers else 'square'}: the experiment's own values")
    if not has_numbers and any(line.failed for line in lines):
        texts.append("x: failed runs")
    return "; ".join(texts)


def _best(cells: Cells, measure: Measure) -> float:
    best = min if measure.lower_is_better else max
    return best((line.ours.mean for line in cells.values() if line.ours), default=NOTHING)


def _places(values: Sequence[str]) -> dict[str, int]:
    return {value: place for place, value in enumerate(values)}


def _write_cells(
    axes: Axes,
    cells: Cells,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[float],
    best: float,
) -> None:
    """Write each cell's value; the best of the network is bold, the experiment's in brackets."""
    down, across = _places(rows), _places(columns)
    middle = (min(values) + max(values)) / 2 if values else 0.0
    for (row, column), line in cells.items():
        text = f"{line.ours.mean:.2f}" if line.ours else "fail" if line.failed else ""
        axes.text(
            across[column],
            down[row],
            f"[{text}]" if line.is_default and text else text,
            ha="center",
            va="center",
            fontsize=SMALL,
            fontweight="bold" if _mean(line) == best else "normal",
            color="white" if _mean(line) > middle else "black",
            parse_math=False,
        )


def _mark_cells(
    axes: Axes,
    cells: Cells,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[float],
    best: float,
) -> None:
    """Mark the best cell of the network, the experiment's and those with failed runs."""
    del values
    down, across = _places(rows), _places(columns)
    marks = {
        "*": [place for place, line in cells.items() if _mean(line) == best],
        "s": [place for place, line in cells.items() if line.is_default],
        "x": [place for place, line in cells.items() if line.failed],
    }
    for marker, there in marks.items():
        axes.plot(
            [across[column] for _, column in there],
            [down[row] for row, _ in there],
            marker=marker,
            linestyle="none",
            markersize={"*": 9, "s": 13, "x": 4}[marker],
            markerfacecolor="none" if marker == "s" else "#D55E00",
            markeredgecolor="black" if marker == "x" else "#D55E00",
        )
