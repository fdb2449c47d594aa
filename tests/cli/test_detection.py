"""Object detection by the command line: a table whose rows are trained in steps."""

import json
import re

import pytest
import torch

from resnet_repro.cli import compose
from resnet_repro.detection import scene_cache
from tests.support.detection_runs import write_squares
from tests.support.results import cells

# Two rows that share the classifier and the proposals, one that is another test of the first, and
# an ensemble.
FILE = """\
# @package _global_
defaults:
  - /data@steps.classification.data: synthetic
  - /recipe@steps.classification.recipe: quickstart
  - /evaluation@steps.classification.evaluation: single_view
  - /detector@steps.classification.detector: none
  - /detector@steps.proposals.detector: proposals
  - /recipe@steps.proposals.recipe: detection_quickstart
  - override /model: imagenet_resnet
  - override /data: voc_folder
  - override /recipe: detection_quickstart
  - override /evaluation: boxes
  - override /detector: regions
paper: {title: Squares, measures: [voc07, voc12]}
model: {depth: 18, width: 8}
data: {title: squares, root: set, image_size: 64, num_classes: 2, boxes: {longest: 96}}
recipe: {iterations: 4, lr_drops: [3], lr: 0.01}
evaluation: {num_proposals: 20}
detector: {anchors: [1, 2], sampled_regions: 16, num_proposals: 30}
compute: {device: cpu, workers: 1}
steps:
  classification:
    seed: 0
    data: {image_size: 32, generate: {num_train: 32, num_test: 10}}
    recipe: {iterations: 2, lr_drops: [], batch_size: 16, bn_batch: null, crop_padding: 0,
             warmup: {lr: null}}
  proposals:
    seed: 0
    start: classification
    recipe: {iterations: 2, lr_drops: [], lr: 0.01}
    detector: {anchors: [1, 2], min_size: 2, sampled_anchors: 32}
  regions: {start: classification, proposals: proposals}
rows:
  - {name: plain}
  - {name: slow, set: {recipe.lr: 1.0e-3}}
  - {name: refined, set: {evaluation.refine: true}}
  - {name: both, members: [plain, slow]}
"""


@pytest.fixture
def squares(run_cli, tmp_path, monkeypatch):
    """Call the command line on the experiment, with photographs in `set`."""
    monkeypatch.setattr(scene_cache, "cache_folder", lambda: tmp_path / "cache")
    write_squares(tmp_path / "set")
    file = tmp_path / "mine/experiment/squares.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(FILE)
    return lambda *words: run_cli("--config-dir", "mine", *words, "experiment=squares")


def test_a_table_of_detectors_is_made_in_steps_that_rows_and_seeds_share(squares, tmp_path):
    done = squares()
    assert done.code == 0, done.err
    runs = tmp_path / "results/runs"
    names = {path.name.split("-seed0-")[0] for path in runs.glob("*-seed0-*")}
    assert names == {"plain", "plain-classification", "plain-proposals", "slow"}
    table = (tmp_path / "results/squares/table.md").read_text()
    assert "mAP" in table
    for row, seeds in (("plain", "1/1"), ("slow", "1/1"), ("refined", "1/1"), ("both", "1/1")):
        assert re.match(r"\d+\.\d\d", cells(table, row)[2]), row
        assert cells(table, row)[-1] == seeds
    (plain,) = runs.glob("plain-seed0-*")
    tests = json.loads((plain / "evaluations.json").read_text())
    assert set(tests) == {"boxes 64 top:20", "boxes 64 refined top:20"}
    assert {test["num_images"] for test in tests.values()} == {5}

    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.pt")}
    again = squares()
    assert again.code == 0
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.pt")} == before

    text = squares("explain", "row=refined").out
    assert "refined, the best 20 proposals" in text
    assert plain.name in text

    other = squares("row=plain", "seeds=[1]")
    assert other.code == 0, other.err
    assert len([*runs.glob("*-seed1-*")]) == 1
    assert len([*runs.glob("plain-classification-*")]) == 1


def test_a_file_in_place_of_the_classifier_is_part_of_the_identity(squares, tmp_path):
    def planned():
        line = ("status", "format=json", "steps.classification.weights=w.pth", "row=plain")
        return {run["id"] for run in json.loads(squares(*line).out)["runs"]}

    (tmp_path / "w.pth").write_bytes(b"some weights")
    first = planned()
    assert len(first) == 2  # proposals and regions
    assert planned() == first
    (tmp_path / "w.pth").write_bytes(b"other weights")
    assert not planned() & first


def narrow_weights():
    """Return weights as torchvision's are, of a ResNet-18 that is an eighth as wide."""
    import torchvision

    def narrow(tensor):
        shape = [size // 8 if size >= 64 else size for size in tensor.shape[:2]]
        return tensor[tuple(map(slice, shape))].clone()

    weights = torchvision.models.resnet18().state_dict()
    return {name: narrow(tensor) for name, tensor in weights.items()}


def test_records_of_a_training_from_a_file_are_read_without_it(
    squares, run_cli, tmp_path, monkeypatch
):
    monkeypatch.setattr(compose, "options", lambda group: ["squares"])  # the others take a while
    file = tmp_path / "of mine/w.pth"
    file.parent.mkdir()
    torch.save(narrow_weights(), file)
    short = ("recipe.iterations=1", "steps.proposals.recipe.iterations=1", "recipe.lr_drops=[]")
    file_word = f"steps.classification.weights='{file}'"
    done = squares(*short, file_word, "row=plain")
    assert done.code == 0, done.err
    (records,) = tmp_path.glob("results/squares/*/records.json")
    assert str(tmp_path) not in records.read_text()
    file.unlink()
    checked = run_cli("verify", "--config-dir", "mine", "results")
    assert checked.code == 0, checked.err
    assert run_cli("report", "--config-dir", "mine").code == 0
    again = squares("table", *json.loads(records.read_text())["changes"])
    assert again.code == 0
    assert done.out.endswith(again.out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps.classification.weights=none.pth"], "weights=none.pth: No such file"),
        (["steps.proposals.weights=w.pth"], "can only replace a step that others start from, such"),
        (["steps.regions.weights=w.pth"], "such as classification"),
        (["steps.classification.weights_sha256=ab"], "it is 64 digits and letters a to f"),
        (["steps.regions.start=null"], "step regions has proposals and no start"),
        (["steps.regions.proposals=null"], "one step is the rows' own"),
        (["detector.step=joint"], "has those of proposals: a step that trains regions needs"),
        (["detector.weights=w.pth"], "set steps.NAME.weights of the step that the file stands for"),
    ],
)
def test_steps_that_cannot_be_trained_are_refused_in_a_line(squares, words, message):
    done = squares("status", *words)
    assert done.code == 1
    assert message in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_photographs_of_a_later_step_are_missed_before_the_first_trains(squares, tmp_path):
    (tmp_path / "set").rename(tmp_path / "elsewhere")
    done = squares()
    assert done.code == 1
    assert "there is no set" in done.err
    assert not (tmp_path / "results/runs").exists()


def test_a_row_with_steps_starts_from_no_other_row(squares, tmp_path):
    file = tmp_path / "mine/experiment/squares.yaml"
    file.write_text(FILE.replace("{name: refined, ", "{name: refined, starts_from: plain, "))
    done = squares("status")
    assert done.code == 1
    assert "row refined: starts_from=plain: its steps say what it starts from" in done.err


def test_members_of_an_ensemble_have_one_precision(squares, tmp_path):
    """They look at each photograph together."""
    file = tmp_path / "mine/experiment/squares.yaml"
    file.write_text(FILE.replace("recipe.lr: 1.0e-3", "recipe.precision: bf16"))
    done = squares("status")
    assert done.code == 1
    assert "row both: its members are computed in fp32 and bf16" in done.err


def test_weights_of_another_network_are_refused_in_a_line(squares, tmp_path):
    """The file has 64 channels, the experiment's network 8."""
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    done = squares("steps.classification.weights=w.pth", "row=plain")
    assert done.code == 1
    assert "w.pth does not fit the detector" in done.out + done.err
    assert "Traceback" not in done.out + done.err
