"""The pictures of a sweep, of few values and of many."""

from itertools import combinations

import pytest

from resnet_repro.report.pictures.curves import MOST_CASES
from resnet_repro.report.pictures.registry import draw_all
from resnet_repro.report.pictures.style import COLOURS
from resnet_repro.report.tables import build_table
from tests.support.plans import plan
from tests.support.results import result

pytestmark = pytest.mark.pictures

LONG = (
    "[1000,2000,3000,4000,5000,6000,7000,8000],[32000,48000],[9000,10000,11000,12000,13000,14000]"
)
SMALL_VALUES = "recipe.weight_decay=1e-7,1e-6,1e-5,1e-4"


def swept(*grid, rows="ResNet-20"):
    words = ",".join(f"'{word}'" for word in grid)
    return plan("cifar_depth", f"row=[{rows}]", f"sweep.grid=[{words}]", "seeds=[0,1]")


def drawn(made, failed=()):
    """Draw a sweep in which the case of a number in `failed` has one run that diverged."""
    results = {}
    for number, row in enumerate(made.selected_rows):
        results[row.name] = [result(row, seed, 8 + 0.1 * number + seed / 4) for seed in (0, 1)]
        if number in failed:
            results[row.name][0] = result(row, 0, None, state="diverged", reason="NaN")
    keep = lambda name, figure: (name, figure)  # noqa: E731
    return dict(draw_all(made, build_table(made, results), results, keep))


def names_in(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_few_curves_have_a_name_each():
    made = swept(f"recipe.lr=range(1,{MOST_CASES + 1})")
    (axes,) = drawn(made)["curves"].axes
    assert names_in(axes.get_legend()) == [f"ResNet-20: {n}" for n in range(1, MOST_CASES + 1)]
    assert axes.get_legend().get_title().get_text().endswith("network: recipe.lr")


def test_many_curves_of_a_number_have_its_value_as_colour():
    made = swept("recipe.lr=range(0.001,0.041,0.001)", rows="ResNet-20,ResNet-32")
    figure = drawn(made)["curves"]
    axes, bar = figure.axes
    assert axes.get_legend() is None
    assert bar.get_ylabel() == "recipe.lr"
    values = [row.config.recipe.lr for row in made.selected_rows if row.of == "ResNet-20"]
    assert [list(each.get_array()) for each in axes.collections] == [values] * 2
    assert [len(each.get_segments()) for each in axes.collections] == [40, 40]
    assert names_in(figure.legends[0]) == ["ResNet-20", "ResNet-32"]


@pytest.mark.parametrize(
    "grid",
    [
        [f"recipe.lr_drops={','.join(f'[{n}000]' for n in range(1, 41))}"],
        ["recipe.lr=range(1,21)", "recipe.momentum=0.8,0.9"],
    ],
)
def test_of_many_other_curves_the_lowest_have_names(grid):
    (axes,) = drawn(swept(*grid))["curves"].axes
    names = names_in(axes.get_legend())
    assert len(names) == len(COLOURS) + 1
    assert names[-1] == f"{40 - len(COLOURS)} others"
    assert len(axes.collections[0].get_segments()) == 40 - len(COLOURS)


def test_a_map_says_what_its_marks_mean():
    figure = drawn(swept("recipe.momentum=0.8,0.9", "recipe.lr=0.05,0.1"), failed=(0,))["sweep"]
    texts = {text.get_text(): text.get_fontweight() for text in figure.axes[0].texts}
    assert texts == {"8.25": "normal", "8.22": "bold", "8.32": "normal", "[8.43]": "normal"}
    assert figure.get_supxlabel() == (
        "bold: lowest of the network; [brackets]: the experiment's own values"
    )
    large = drawn(swept("recipe.momentum=0.8,0.9", "recipe.lr=range(0.01,0.4,0.01)"), (3,))["sweep"]
    assert not large.axes[0].texts
    assert large.get_supxlabel() == (
        "star: lowest of the network; square: the experiment's own values; x: failed runs"
    )
    assert max(large.get_size_inches()) < 10


def test_values_with_failed_runs_are_marked_below_the_curves():
    figure = drawn(swept("recipe.lr=0.05,0.1,0.2", rows="ResNet-20,ResNet-32"), (1, 2, 4))["sweep"]
    (axes,) = figure.axes
    crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[0.1, 0.2], [0.1]]
    assert len({line.get_color() for line in crosses}) == len(crosses)
    assert figure.legends[0].get_title().get_text().endswith("x: failed runs")


def test_a_value_is_labelled_however_small():
    (axes,) = drawn(swept(SMALL_VALUES))["sweep"].axes
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["1e-07", "1e-06", "1e-05", "0.0001"]


def test_a_row_that_has_other_values_does_not_change_their_order():
    made = swept("recipe.momentum=0.8,0.9", "recipe.lr=0.05,0.1", rows="ResNet-32")
    results = {row.name: [result(row)] for row in made.selected_rows}
    other = next(row for row in made.rows if row.of == "ResNet-20" and row.point[1][1] == 0.1)
    results = {other.name: [result(other)], **results}
    figure = dict(draw_all(made, build_table(made, results), results, lambda *each: each))["sweep"]
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels == ["0.05", "0.1"]


def test_a_curve_has_the_name_that_its_run_has_in_the_table():
    """ResNet-8 and plain-8 are the same network with the same shortcuts."""
    made = plan("quickstart", "row=ResNet-8", "sweep.grid=['model.shortcut=A,B']")
    results = {row.name: [result(row)] for row in made.rows if row.of in ("plain-8", "ResNet-8")}
    figure = dict(draw_all(made, build_table(made, results), results, lambda *each: each))["curves"]
    assert names_in(figure.axes[0].get_legend()) == ["ResNet-8: A", "ResNet-8: B"]


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(["recipe.lr=choice(0.05)"], marks=pytest.mark.slow),
        ["recipe.lr=1e-4,1e-3,0.01,0.1,1"],
        pytest.param(["recipe.lr=range(0.001,0.101,0.001)"], marks=pytest.mark.slow),
        ["model.shortcut=A,B,C"],
        [f"recipe.lr_drops={LONG}"],
        pytest.param(
            [f"recipe.lr_drops={','.join(f'[{n}00,48000]' for n in range(1, 91))}"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["recipe.momentum=choice(0.9)", "recipe.lr=0.01,0.02,0.05,0.1,0.2,0.5,1,2"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["recipe.lr=0.01,0.02,0.05,0.1,0.2,0.5,1,2", "recipe.momentum=choice(0.9)"],
            marks=pytest.mark.slow,
        ),
        pytest.param(["recipe.lr=0.1,0.2", f"recipe.lr_drops={LONG}"], marks=pytest.mark.slow),
        pytest.param([f"recipe.lr_drops={LONG}", "recipe.lr=0.1,0.2"], marks=pytest.mark.slow),
        pytest.param(
            ["recipe.momentum=range(0.5,0.9,0.02)", "recipe.lr=range(0.01,0.41,0.01)"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_nothing_overlaps_or_is_cut_off(grid):
    for name, figure in drawn(swept(*grid), failed=(1,)).items():
        figure.draw_without_rendering()
        within = figure.bbox.padded(1)
        for axes in figure.axes:
            x_labels, y_labels = axes.get_xticklabels(), axes.get_yticklabels()
            legends = [each for each in (*figure.legends, axes.get_legend()) if each]
            outer = [axes.xaxis.label, axes.yaxis.label, *legends, figure._suptitle]
            low, high = axes.bbox.padded(2).extents[[0, 2]]
            shown = [label for label in x_labels if low <= label.get_window_extent().x1]
            shown = [label for label in shown if label.get_window_extent().x0 <= high]
            for texts in (shown, y_labels, axes.texts, outer):
                drawn_texts = [each for each in texts if each.get_visible()]
                boxes = [each.get_window_extent() for each in drawn_texts]
                boxes = [box for box in boxes if box.width and box.height]
                assert not [a for a, b in combinations(boxes, 2) if a.overlaps(b)], name
                for box in boxes if texts is outer else []:
                    assert within.contains(*box.min), name
                    assert within.contains(*box.max), name
