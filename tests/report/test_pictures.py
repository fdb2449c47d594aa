"""The pictures of a table."""

import os
import subprocess
import sys
from dataclasses import replace
from statistics import stdev

import matplotlib as mpl
import pytest
from scipy.stats import t

from resnet_repro.report.pictures import registry as plots
from resnet_repro.report.pictures.registry import draw_all
from resnet_repro.report.pictures.series import make_points, sort_series
from resnet_repro.report.pictures.style import default_style
from resnet_repro.report.tables import build_table
from resnet_repro.report.write import write_outputs
from tests.support.paths import ROOT
from tests.support.plans import plan
from tests.support.results import counts, result, results_of

pytestmark = pytest.mark.pictures

DEPTHS = {
    "ResNet_20": [8.9, 8.7, 8.8, 9.0, 8.6],
    "ResNet_32": [7.5],
    "ResNet_110": [6.7, 6.5, 6.6, 6.8, 6.9],
}


def drawn(made, results):
    keep = lambda name, figure: (name, figure)  # noqa: E731
    return dict(draw_all(made, build_table(made, results), results, keep))


def bars(axes):
    """Return {(x, y): (low, high)} of every point with an interval, whichever way it lies."""
    found = {}
    for container in axes.containers:
        data, _, (lines,) = container.lines
        for x, y, ends in zip(*data.get_data(), lines.get_segments(), strict=True):
            across = 0 if container.has_xerr else 1
            if len(ends):
                found[round(x, 6), round(y, 6)] = tuple(end[across] for end in ends)
    return found


def any_results(row, seeds):
    """Return results of a row with every measure that its table may compare."""
    tests = [
        {**counts(9.0 + seed / 4), "map50": 9.0 + seed / 4, "map": 5.0}
        | {f"num_errors_loc_{of}": 5000 + 50 * seed for of in ("top5", "gt")}
        for seed in range(seeds)
    ]
    return [
        result(row, seed, None, test_curve=[(10, 9.0)], evaluations={row.protocol: test})
        for seed, test in enumerate(tests)
    ]


def lines_of(axes, marker_face):
    return [line for line in axes.get_lines() if line.get_markerfacecolor() == marker_face]


@pytest.mark.parametrize(
    ("experiment", "found"),
    [
        ("cifar_depth", {"curves", "differences", "depth", "cost"}),
        ("preact_shortcuts", {"curves", "differences"}),  # networks of one size
        ("resnext_width", {"curves", "differences", "size"}),  # which is its picture of cost
        ("imagenet_plain", {"curves", "cost"}),  # two depths; one seed tells no spread
        ("cifar_responses", {"curves", "depth", "cost"}),  # the paper prints no number to differ
        ("resnext_detection", {"curves", "differences", "cost"}),
        ("imagenet_localisation_regions", {"curves", "differences"}),  # one network
    ],
)
def test_each_picture_is_drawn_when_it_has_something_to_show(experiment, found):
    made = plan(experiment)
    seeds = 1 if experiment == "imagenet_plain" else 2
    results = {row.name: any_results(row, seeds) for row in made.rows if row.config}
    assert drawn(made, results).keys() == found
    assert not drawn(made, {})
    half = {name: [replace(each[0], state="unfinished", evaluations={})] for name, each in
            results.items()}  # fmt: skip
    assert drawn(made, half).keys() == {"curves"}


def test_what_was_measured_is_drawn_also_where_it_was_not_saved():
    made = plan("cifar_depth")
    (known,) = results_of(made, ResNet_20=[8.9])["ResNet-20"]
    killed = replace(known, state="unfinished", iteration=0, evaluations={})
    figure = drawn(made, {"ResNet-20": [killed]})["curves"]
    assert figure.axes[0].get_xlim()[1] > killed.test_curve[-1][0]


def test_intervals_and_the_papers_points_are_those_of_the_table():
    made = plan("cifar_depth")
    results = results_of(made, **DEPTHS)
    pictures = drawn(made, results)
    verdicts = [
        line.verdict
        for line in build_table(made, results).lines
        if line.verdict and line.verdict.interval
    ]
    (axes,) = pictures["differences"].axes
    assert bars(axes) == {
        (round(v.interval.difference, 6), place): pytest.approx((v.interval.low, v.interval.high))
        for place, v in enumerate(verdicts)
    }
    words = [text.get_text() for text in axes.texts]
    assert words == [verdict.word for verdict in verdicts]

    (axes,) = pictures["depth"].axes
    found = bars(axes)
    assert found.keys() == {(20, 8.8), (32, 7.5), (110, 6.7)}
    # Five seeds: t(0.975; 4) = 2.776 times their standard deviation over the root of five.
    assert found[20, 8.8] == pytest.approx((8.8 - 0.19632, 8.8 + 0.19632), abs=1e-4)
    low, high = found[32, 7.5]  # one seed: the table's spread
    assert high - low > 2 * 0.19632
    (paper,) = lines_of(axes, "none")
    assert list(zip(*paper.get_data(), strict=True)) == [
        (20, 8.75), (32, 7.51), (44, 7.17), (56, 6.97), (110, 6.61), (1202, 7.93)
    ]  # fmt: skip
    sizes = [axes.containers[0].lines[0].get_xdata()[0] for axes in pictures["cost"].axes]
    assert sizes == pytest.approx([0.269722, 0.040551040])


def test_a_line_without_points_is_not_in_the_legend():
    made = plan("cifar_short")
    pictures = drawn(made, results_of(made, ResNet_20=[13.0], ResNet_56=[18.0]))
    for name in ("depth", "cost"):
        (legend,) = pictures[name].legends
        assert [text.get_text() for text in legend.get_texts()] == ["residual"]


def test_detectors_are_drawn_against_their_parameters_alone():
    """Their multiply-adds depend on the photograph, and the table has none."""
    made = plan("resnext_detection")
    pictures = drawn(made, {row.name: any_results(row, 2) for row in made.rows if row.config})
    assert [axes.get_xlabel() for axes in pictures["cost"].axes] == ["parameters (millions)"]
    # Nor are errors of sampled regions an mAP.
    assert len(pictures["curves"].axes[0].get_lines()) == len(made.selected_rows)


@pytest.mark.parametrize("values", ["0.05,0.1,0.2", "0.05,0.06,0.07"])
def test_the_bars_of_a_sweeps_networks_do_not_cover_each_other(values):
    grid = f"sweep.grid=['recipe.lr=choice({values})']"
    made = plan("quickstart", "row=[ResNet-8,plain-8]", grid)
    results = results_of(made, **{name: [9.0, 9.4] for name in made.selected})
    figure = drawn(made, results)["sweep"]
    places = [x for x, _ in bars(figure.axes[0])]
    assert len(set(places)) == 6
    figure.draw_without_rendering()
    labels = [label.get_text().strip() for label in figure.axes[0].get_xticklabels()]
    assert {*values.split(",")} <= {*labels}
    for place in places:  # each nearest to its value
        assert min(abs(place / float(value) - 1) for value in values.split(",")) < 0.02


def test_the_bars_of_five_seeds_are_of_the_rows_own_spread():
    made = plan("quickstart", "row=ResNet-8", "sweep.grid=['recipe.lr=0.05,0.2']")
    narrow, wide = [9.0, 9.1, 9.2, 9.1, 9.0], [8.0, 10.0, 12.0, 10.0, 9.0]
    results = results_of(made, **dict(zip(made.selected, (narrow, wide), strict=True)))
    found = bars(drawn(made, results)["sweep"].axes[0]).values()
    first, second = (high - low for low, high in found)
    expected = [2 * t.ppf(0.975, 4) * stdev(each) / 5**0.5 for each in (narrow, wide)]
    assert [first, second] == pytest.approx(expected)


def test_changed_settings_are_said_and_not_set_beside_the_paper():
    made = plan("cifar_depth", "recipe.iterations=1500")
    pictures = drawn(made, results_of(made, **DEPTHS))
    assert "differences" not in pictures
    for figure in pictures.values():
        assert "(changed settings)" in figure.get_suptitle().replace("\n", " ")
    assert not lines_of(pictures["depth"].axes[0], "none")


def test_networks_of_one_size_are_told_apart_and_others_form_a_line():
    points = make_points(plan("preact_depth"), {})
    series = sort_series(points, lambda point: point.config.model.depth)
    depths = {name: [p.config.model.depth for p in each] for name, each in series.items()}
    assert depths["pre-activation, bottlenecks"] == [164, 164, 1001, 1001]  # two sets of images
    assert depths["residual, 1-layer blocks"] == depths["residual, basic blocks"] == [110]
    names = sort_series(
        make_points(plan("imagenet_multiscale"), {}), lambda point: point.config.model.depth
    )
    assert {name: len(each) for name, each in names.items()} == {
        "residual, shortcut B": 4, "residual, shortcut C": 1
    }  # fmt: skip
    assert list(
        sort_series(make_points(plan("cifar_depth"), {}), lambda p: p.row.exact.params)
    ) == ["residual"]


def test_twice_the_points_take_twice_the_work():
    points = make_points(plan("preact_depth"), {})
    asked = []

    def size(point):
        asked[-1] += 1
        return point.config.model.depth

    for number in (20, 40):
        asked.append(0)
        assert sort_series(points * number, size).keys() == sort_series(points, size).keys()
    assert asked[1] < 2.5 * asked[0]


def test_names_are_shown_whole():
    """The longest name of all, and one that reads as a formula, lie within the picture."""
    made = plan("imagenet_preact")
    rows = [replace(row, name=f"{row.name} $a^b$") for row in made.rows]
    made = replace(made, rows=tuple(rows), claims=())
    results = {
        row.name: [
            result(row, seed, 21.0, evaluations={row.protocol: counts(21 + seed / 4)})
            for seed in (0, 1)
        ]
        for row in rows
        if row.config
    }
    for name, figure in drawn(made, results).items():
        figure.draw_without_rendering()
        within = figure.bbox.padded(1)
        texts = [text for axes in figure.axes for text in axes.get_yticklabels() + axes.texts]
        legends = [
            each for each in [*figure.legends, *(a.get_legend() for a in figure.axes)] if each
        ]
        boxes = [part.get_window_extent() for part in [*texts, *legends] if part.get_visible()]
        outside = [
            box for box in boxes if not (within.contains(*box.min) and within.contains(*box.max))
        ]
        assert not outside, name


def test_error_against_size_is_drawn():
    made = plan("resnext_width")
    figure = drawn(made, {row.name: any_results(row, 1) for row in made.rows if row.config})["size"]
    words = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    assert {"more groups of 64 channels", "one group, wider"} <= {*words}


PICTURES = plots.PICTURES


def test_a_picture_that_fails_costs_a_line(made, monkeypatch, heard):
    def fail(*_):
        raise RuntimeError("Failed to process string with tex\nlatex could not be found")

    monkeypatch.setattr(plots, "PICTURES", {**PICTURES, "differences": plots.Picture(fail, "")})
    _, pictures = write_outputs(made)
    assert "the picture differences was skipped (RuntimeError: Failed to process string" in (
        heard.text
    )
    assert (made.folder / "table.md").is_file()
    assert {path.stem for path in pictures} == {"curves", "depth", "cost"}


@pytest.mark.slow
def test_pictures_depend_on_no_settings_of_the_users(made, tmp_path, monkeypatch):
    """Bytes are the same under a notebook's backend and settings that cannot be read or drawn."""
    monkeypatch.setattr(plots, "PICTURES", PICTURES)
    write_outputs(made)
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.family: none\nno.key: 1\n")
    (tmp_path / "latin").write_bytes(b"font.family: \xe9\n")
    strange = {"MPLBACKEND": "nowhere", "MATPLOTLIBRC": "latin", "MPLCONFIGDIR": "/dev/null/x"}
    done = subprocess.run(
        [sys.executable, "-m", "resnet_repro", "table", "experiment=cifar_depth"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **strange},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("\nWritten:")
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before
    with mpl.rc_context({"text.usetex": True, "font.size": 30}):
        write_outputs(made)
        with default_style():
            assert not mpl.rcParams["text.usetex"]
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before
