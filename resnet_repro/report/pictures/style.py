"""What all pictures have in common: colours, marks, titles, and files that repeat to the byte."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import log
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.text import Text

from resnet_repro.files import write_atomically
from resnet_repro.visible import visible

# Okabe and Ito's colours, which the colour-blind tell apart, the darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # tell apart what print has made gray
LINES = ("-", "--", ":")
# Numbers of a logarithmic axis in each power of ten, and the share of it that one takes.
STEPS = ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 5), (1,))
ROOM = 0.1
SMALL = 8  # points; the papers' own figures have no smaller print


def line_style(index: int) -> dict[str, Any]:
    """Return colour, marker and line of the series of this number: no two of 56 are alike."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index // len(COLOURS) % len(LINES)],
    }


def new_figure(width: float, height: float, title: str, *, is_changed: bool = False) -> Figure:
    """Return an empty figure, inches, whose parts make room for one another.

    Args:
        width: Of the figure; the title is broken to fit.
        height: Of the figure.
        title: Above it.
        is_changed: The runs have other settings than the experiment's: said in the title.
    """
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    text = f"{title} (changed settings)" if is_changed else title
    figure.suptitle(fill(text, round(12.5 * width)), fontsize=9, parse_math=False)
    return figure


def clean_axes(axes: Axes) -> None:
    """Leave of an axes what is needed to read it."""
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(SMALL + 1)


def label_each_size(axes: Axes, sizes: list[float]) -> None:
    """Put every size at a logarithmic axis; one close to the size before stands a line lower."""
    room = ROOM * log(max(sizes) / min(sizes))
    lowered = [False]
    for before, size in pairwise(sizes):
        lowered.append(log(size / before) < room and not lowered[-1])
    both = zip(sizes, lowered, strict=True)
    axes.set_xticks(sizes, [("\n" if is_low else "") + f"{size:g}" for size, is_low in both])


def label_round_numbers(axes: Axes) -> None:
    """Put round numbers at a logarithmic axis, as many as have room in the part that is shown."""
    low, high = axes.get_xlim()
    for steps in STEPS:
        numbers = [step * 10.0**power for power in range(-4, 5) for step in steps]
        ticks = [number for number in numbers if low <= number <= high]
        if all(log(b / a) > ROOM * log(high / low) for a, b in pairwise(ticks)):
            break
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def without_math(legend: Legend) -> Legend:
    """Let a legend print names as they are: a dollar sign begins no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend


def add_side_legend(axes: Axes, title: str | None) -> None:
    """Name the lines of an axes to its right, where they cover nothing."""
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


@contextmanager
def default_style() -> Iterator[None]:
    """Draw by Matplotlib's own defaults, whatever the user's settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def _make_visible(figure: Figure) -> None:
    """Write out characters that no font has, and that are not allowed in an SVG."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text() != (shown := visible(text.get_text())):
            text.set_text(shown)


def to_svg(figure: Figure, *, with_fonts: bool = False) -> bytes:
    """Return a figure as SVG; the same figure gives the same bytes: no date, fixed ids.

    Args:
        figure: Of ours.
        with_fonts: Draw letters as shapes, so that it looks alike on a machine without the font.
    """
    _make_visible(figure)
    file = io.BytesIO()
    fonts = "path" if with_fonts else "none"
    with mpl.rc_context({"svg.hashsalt": "resnet-repro", "svg.fonttype": fonts}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as `<name>.svg` and `<name>.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    write_atomically(paths[0], to_svg(figure))
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    write_atomically(paths[1], png.getbuffer())
    return paths
