"""The common style of all pictures: colours, marks, titles; and reproducible files."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import ceil, floor, log, log10
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.text import Text

from resnet_repro.files import write_atomically
from resnet_repro.visible import visible

# Okabe and Ito's colours, which colour-blind readers can distinguish, the darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # distinguish lines in greyscale print
LINES = ("-", "--", ":")
MOST_STYLES = len(COLOURS) * len(MARKERS)  # lines that all differ
# Numbers for each power of ten of a logarithmic axis, from dense to sparse.
STEPS = ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 5), (1,))
ROOM = 0.1  # the fraction of the axis that a number needs
SMALL = 8  # font size in points; the papers' own figures have no smaller print


def line_style(index: int) -> dict[str, Any]:
    """Return colour, marker and line of a series; the first `MOST_STYLES` are all different."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index // len(COLOURS) % len(LINES)],
    }


def new_figure(width: float, height: float, title: str, *, is_changed: bool = False) -> Figure:
    """Return an empty figure with constrained layout.

    Args:
        width: Width of the figure in inches; the title is wrapped to fit.
        height: Height of the figure in inches.
        title: Title above the figure.
        is_changed: Whether the runs have changed settings, which is then noted in the title.
    """
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    text = f"{title} (changed settings)" if is_changed else title
    figure.suptitle(fill(text, round(12.5 * width)), fontsize=9, parse_math=False)
    return figure


def clean_axes(axes: Axes) -> None:
    """Style axes: a light grid, no top and right spine, small labels."""
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(SMALL + 1)


def label_each_size(axes: Axes, sizes: list[float]) -> None:
    """Label every size on a logarithmic axis, one that is close to the last on a lower line."""
    room = ROOM * log(max(sizes) / min(sizes))
    lowered = [False]
    for before, size in pairwise(sizes):
        lowered.append(log(size / before) < room and not lowered[-1])
    both = zip(sizes, lowered, strict=True)
    axes.set_xticks(sizes, [("\n" if is_low else "") + f"{size:g}" for size, is_low in both])


def label_values(axis: Axis, values: Sequence[float]) -> None:
    """Label values on an axis, in rising order; round numbers if they are too dense."""
    low, high = axis.get_view_interval()
    is_log = axis.get_scale() == "log"
    gaps = [log(b / a) if is_log else b - a for a, b in pairwise(values)]
    if min(gaps, default=1.0) > ROOM * (log(high / low) if is_log else high - low):
        axis.set_ticks(values, [f"{value:g}" for value in values])
    elif is_log:
        label_round_numbers(axis)


def label_round_numbers(axis: Axis) -> None:
    """Label round numbers on a logarithmic axis, as many as fit into the visible part."""
    low, high = axis.get_view_interval()
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in STEPS:
        numbers = [step * 10.0**power for power in powers for step in steps]
        ticks = [number for number in numbers if low <= number <= high]
        if all(log(b / a) > ROOM * log(high / low) for a, b in pairwise(ticks)):
            break
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])


def without_math(legend: Legend) -> Legend:
    """Print a legend's names literally, so that a dollar sign does not start a formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend


def add_side_legend(axes: Axes, title: str | None) -> None:
    """Put the legend to the right of the axes, where it covers nothing."""
    without_math(
        axes.legend(
            title=title,
            alignment="left",
            fontsize=SMALL,
            title_fontsize=SMALL,
            frameon=False,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0,
        )
    )


def add_lower_legend(figure: Figure, handles: Sequence[Artist], title: str, columns: int) -> None:
    """Put a legend below all axes, with a title that says what marks mean."""
    without_math(
        figure.legend(
            handles=handles,
            title=title,
            ncols=columns,
            fontsize=SMALL,
            title_fontsize=SMALL,
            frameon=False,
            loc="outside lower center",
        )
    )


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with Matplotlib's defaults instead of the user's settings."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def _make_visible(figure: Figure) -> None:
    """Escape characters that fonts lack or that are not allowed in SVG."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text() != (shown := visible(text.get_text())):
            text.set_text(shown)


def to_svg(figure: Figure, *, with_fonts: bool = False) -> bytes:
    """Return a figure as SVG without date and with fixed ids, so that its bytes are reproducible.

    Args:
        figure: The figure.
        with_fonts: Whether to draw letters as shapes, so that the reader needs no font.
    """
    _make_visible(figure)
    file = io.BytesIO()
    fonts = "path" if with_fonts else "none"
    with mpl.rc_context({"svg.hashsalt": "resnet-repro", "svg.fonttype": fonts}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as `<name>.svg` and `<name>.png`; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    write_atomically(paths[0], to_svg(figure))
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    write_atomically(paths[1], png.getbuffer())
    return paths
