"""A table of measures of which higher is better: detectors with made-up results."""

import csv
import io
import json
import re

import pytest
from PIL import Image

from resnet_repro.records.curves import precision_curve, write_curves
from resnet_repro.records.examples import Example, Found, Labelled, choose, write_examples
from resnet_repro.report.class_table import ClassLine, ClassTable, class_texts
from resnet_repro.report.pictures.examples import RIGHT, WRONG, draw_photographs
from resnet_repro.report.status import overview
from tests.support.detection import EXPERIMENT, PROTOCOL, VALUES, WORDS, write_records
from tests.support.paths import PUBLISHED
from tests.support.plans import plan
from tests.support.results import cells

BETTER = {"ResNet-101": [(50.4, 29.3), (50.5, 29.2), (50.3, 29.1)]}


@pytest.fixture
def boxes(run_cli, tmp_path):
    """Write the records of the experiment, and return the results by the id of their run."""
    return write_records(run_cli, tmp_path)


@pytest.fixture
def with_pictures(boxes, tmp_path):
    """Add what pictures of detections need to the folder of each run; return the photograph."""
    photograph = tmp_path / "street.png"
    Image.new("RGB", (60, 40), "green").save(photograph)
    labelled = Labelled([[5, 5, 25, 35], [30, 5, 55, 35]], ["person", "sofa"], [False, False])
    found = Found([[6, 5, 25, 34], [30, 5, 55, 35]], ["person", "person"], [0.9, 0.8])
    for id in boxes:
        folder = tmp_path / "results/runs" / id
        folder.mkdir(parents=True)
        write_curves(folder, PROTOCOL, {"person": precision_curve([True, False, True], 4)})
        write_examples(folder, PROTOCOL, [Example(str(photograph), labelled, found)])
    return photograph


@pytest.mark.usefixtures("boxes")
def test_the_table_has_columns_of_its_measures_and_verdicts_with_their_sign(run_cli):
    outcome = run_cli("table", *WORDS, "format=md")
    assert outcome.code == 0, outcome.err
    text = outcome.out
    assert cells(text, "network") == [
        "network", "layers", "paper mAP@.5", "our mAP@.5", "difference", "verdict",
        "paper mAP@.5:.95", "our mAP@.5:.95", "mAP@.5:.95 difference", "mAP@.5:.95 verdict",
        "seeds",
    ]  # fmt: skip
    row = cells(text, "ResNet-101")
    assert row[2:5] == ["48.4", "49.40 ± 0.10", "+1.00"]
    assert row[5].startswith("better [+")
    assert row[6:9] == ["27.2", "27.20 ± 0.10", "+0.00"]
    assert row[9].startswith("matches [")
    assert cells(text, "ResNet-110")[3] == "50.20 ± 0.14, 1 fail [1]"  # below `fail_below`
    classes = [line for line in text.split("each class")[1].splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in classes[:5]] == [
        ["network", "from", "mean", "person", "dining table", "sofa"],
        ["-" * 10, "-" * 5, "-" * 4 + ":", "-" * 5 + ":", "-" * 11 + ":", "---:"],
        ["VGG-16", "paper", "41.5", "50.1", "32.9", ""],
        ["VGG-16", "ours", "41.47", "49.47", "33.47", ""],
        ["ResNet-101", "paper", "48.4", "58.2", "38.6", ""],
    ]
    assert "**holds**: Deeper is better (Sec. 4.3). mAP@.5:.95: ResNet-101 - VGG-16: +6.00" in text
    assert "**undecided**: The deepest is best. mAP@.5: ResNet-110 - VGG-16: 1 of 3 runs" in text
    assert "improvement. mAP@.5:.95: ResNet-101 over VGG-16: +28.30 % [+27.06, +29.56]" in text
    remarks = text.split("improvement.")[1]
    assert "- mAP@.5: mean over the classes" in remarks
    assert "Higher is better." in remarks
    assert "error in %" not in remarks.split("Recipe")[0]


@pytest.mark.usefixtures("boxes")
def test_all_formats_hold_the_same_numbers(run_cli):
    document = json.loads(run_cli("table", *WORDS, "format=json").out)
    assert document["measures"] == ["map50", "map"]
    line = next(each for each in document["lines"] if each["name"] == "VGG-16")
    assert (line["measure"], line["top5"]) == ("map50", None)
    assert line["others"]["map"]["ours"]["mean"] == pytest.approx(21.2)
    assert document["claims"][2]["evidence"][0]["gain"] == "ResNet-101 over VGG-16"
    per_class = document["per_class"]
    assert per_class["classes"] == ["person", "dining table", "sofa"]
    assert per_class["lines"][0]["ours"]["sofa"] is None
    rows = list(csv.DictReader(io.StringIO(run_cli("table", *WORDS, "format=csv").out)))
    assert float(rows[0]["our_map"]) == line["others"]["map"]["ours"]["mean"]
    assert rows[0]["paper_map50"] == "41.5"
    assert rows[0]["paper_map50_dining table"] == "32.9"
    assert not any("error" in name for name in rows[0] if name != "train_error")
    tex = run_cli("table", *WORDS, "format=tex").out
    assert r"ResNet-101 & ours & 49.40 & 57.40 & 41.40 &  \\" in tex
    assert run_cli("verify", "--config-dir", "mine", "results").code == 0


@pytest.mark.usefixtures("boxes")
def test_explain_names_the_measures_behind_a_cell(run_cli):
    outcome = run_cli("explain", *WORDS, "row=ResNet-101")
    assert "The paper: mAP@.5 48.4 %, mAP@.5:.95 27.2 %" in outcome.out
    assert "Here: mAP@.5 49.40 +- 0.10, mAP@.5:.95 27.20 +- 0.10, 3/3 seeds" in outcome.out
    assert "Verdict, mAP@.5: better" in outcome.out
    assert "the difference of expected values, +0.00, is taken from our mean" in outcome.out
    assert "finished, mAP@.5 49.40 %, mAP@.5:.95 27.30 %, iteration" in outcome.out
    assert "error" not in outcome.out
    row = json.loads(run_cli("explain", *WORDS, "row=VGG-16", "format=json").out)["rows"][0]
    assert row["evidence_others"]["map"]["reference"] == 21.2
    assert row["runs"][0]["values"] == {"map50": 41.3, "map": 21.1}


def test_compare_takes_the_first_measure(run_cli, tmp_path, boxes):
    write_records(run_cli, tmp_path, {**VALUES, **BETTER}, "theirs")
    outcome = run_cli("compare", "--config-dir", "mine", "results", "theirs")
    assert outcome.code == 0, outcome.err
    assert cells(outcome.out, "ResNet-101")[1:3] == ["49.40 ± 0.10 (3)", "50.40 ± 0.10 (3)"]
    assert cells(outcome.out, "ResNet-101")[4] == "higher"
    assert "mAP@.5 in %, the number of seeds in parentheses." in outcome.out
    assert "error" not in outcome.out
    assert len(boxes) == 9


@pytest.mark.pictures
@pytest.mark.usefixtures("with_pictures")
def test_the_page_has_the_classes_and_the_pictures_of_detections(run_cli, tmp_path):
    assert run_cli("table", *WORDS).code == 0
    pictures = {path.stem for path in (tmp_path / "results/boxes").glob("*.png")}
    assert pictures == {"curves", "losses", "differences", "depth", "precision", "examples"}
    assert run_cli("report", "--config-dir", "mine").code == 0
    page = (tmp_path / "results/report.html").read_text()
    assert "mAP against iterations, one seed of each row." in page
    assert "Photographs that are detected best and worst." in page
    assert "mAP@.5 against the number of layers." in page
    assert "of our expected value minus the paper" in page
    assert "seed 0 · mAP@.5 49.40 %" in page.replace("\n", " ")
    assert "one view: mAP 27.30 % on 100 images" in page
    assert '<th scope="col" class="number">dining table</th>' in page


def test_a_wrong_detection_has_another_colour(with_pictures):
    labelled = Labelled([[5, 5, 25, 35], [30, 5, 55, 35]], ["person", "sofa"], [False, True])
    found = Found(
        [[6, 5, 25, 34], [30, 5, 55, 35], [5, 5, 25, 35], [0, 0, 9, 9]],
        ["person", "sofa", "person", "sofa"],
        [0.7, 0.8, 0.9, 0.4],
    )
    figure = draw_photographs([Example(str(with_pictures), labelled, found)], "title")
    (axes,) = figure.axes
    colours = {text.get_text(): text.get_bbox_patch().get_facecolor()[:3] for text in axes.texts}
    of = {name: tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5))
          for name, c in {"right": RIGHT, "wrong": WRONG}.items()}  # fmt: skip
    assert colours == {
        "person 0.90": of["right"],
        "sofa 0.80": of["right"],  # of an object that does not count
        "person 0.70": of["wrong"],  # a second one of the same object
    }
    assert len(axes.patches) == 5


def test_the_best_and_the_worst_are_chosen_by_what_is_found():
    def example(name, *scores):
        box = [0, 0, 10, 10]
        labelled = Labelled([box] * 2, ["cat", "dog"], [False] * 2)
        return Example(name, labelled, Found([box] * 2, ["cat", "dog"], list(scores)))

    every = [example("none", 0.1, 0.2), example("both", 0.9, 0.8), example("one", 0.9, 0.1)]
    chosen = choose(every, 1)
    assert [(each.photograph, each.is_best) for each in chosen] == [("both", True), ("none", False)]


def test_precision_at_each_recall_is_the_highest_from_there_on():
    curve = precision_curve([True, False, True, True, False], 4)
    assert (curve[0], curve[25]) == (1.0, 1.0)
    assert (curve[26], curve[75]) == (0.75, 0.75)  # of one in two, two in three, three in four
    assert curve[76:] == [0.0] * 25


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("measures: [map50, map]", "measures: [map50, mAP]", "paper.measures=mAP: must be one of"),
        ("{map50: 41.5,", "{map5: 41.5,", "paper.values has no measure map5: did you mean map50"),
        ("fail_below: 5", "fail_above: 5", "higher is better: use fail_below, not fail_above"),
        ("rising: [", "falling: [", "falling does not fit measure=map, .*: use rising"),
        ("highest: ResNet-110, measure: map50", "highest: ResNet-110", "highest does not fit"),
        ("over: VGG-16, of", "over: VGG, of", "a claim is about VGG, which is no row to run"),
    ],
)
def test_what_does_not_fit_a_measure_is_refused_in_a_line(run_cli, tmp_path, old, new, message):
    mine = tmp_path / "mine/experiment"
    mine.mkdir(parents=True)
    (mine / "boxes.yaml").write_text(EXPERIMENT.replace(old, new, 1))
    outcome = run_cli("table", *WORDS)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") <= 2
    assert re.search(message, outcome.err), outcome.err


def test_a_shortened_schedules_classes_are_in_brackets():
    line = ClassLine("net", {"person": 76.4}, 1, 76.4, {"person": 3.21}, 3.21)
    table = ClassTable("voc07", ("person",), (line,))
    assert class_texts(table, {"net"})[1] == [
        ["net", "paper", "76.4", "76.4"], ["net", "ours", "(3.21)", "(3.21)"]
    ]  # fmt: skip
    assert class_texts(table, set())[1][1] == ["net", "ours", "3.21", "3.21"]


def test_a_table_of_detectors_is_recorded_with_the_steps_of_its_rows():
    made = plan("detection_quickstart", f"results={PUBLISHED}")
    (entry,) = overview([made])
    assert (entry.recorded, entry.runs) == (4, 4)
