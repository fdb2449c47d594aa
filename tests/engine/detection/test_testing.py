"""Tests of finished detectors: other protocols, ensembles, photographs that cannot be read."""

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_repro.detection.det_ap import det_curve
from resnet_repro.detection.detect import detect
from resnet_repro.detection.detections import Detections
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine import evaluate_task, tasks
from resnet_repro.engine.detection import testing
from resnet_repro.engine.detection.proposals import ProposalFiles
from resnet_repro.engine.detection.testing import detections_path
from resnet_repro.engine.evaluate_runs import evaluate_ensemble, evaluate_run
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.plan import Ensemble, Run
from resnet_repro.records import Record
from resnet_repro.records.curves import precision_curve, read_curves
from resnet_repro.settings.data import BoxesConfig
from tests.support.detection_runs import (
    NUM_TEST,
    NUM_TRAIN,
    StopAfter,
    chain,
    settings,
    train,
    with_fields,
    write_squares,
)
from tests.support.ilsvrc import write_det, write_files
from tests.support.scenes import real, xml_object


def counts_of(run, results):
    folder = results / "runs" / run.id
    evaluate_run(run, folder, SINGLE_PROCESS)
    return Record(folder).evaluations()[run.config.evaluation.key]


@pytest.mark.parametrize("step", ["regions", "joint"])
def test_a_finished_run_is_tested_by_other_protocols(squares, copied, step):
    """None trains anything, and each has detections of its own."""
    run = chain(squares)[step]
    results = copied(*run.needs, run)
    folder = results / "runs" / run.id
    (plain,) = Record(folder).evaluations().values()
    for changes in ({"refine": True}, {"sizes": [48, 64, 96]}):
        other = with_fields(run, evaluation=changes)
        assert other.id == run.id
        test = counts_of(other, results)
        assert test["weights"] == plain["weights"]
        assert test["num_objects"] == plain["num_objects"]
        assert detections_path(folder, other.config.evaluation).is_file()
    assert len({path.read_bytes() for path in folder.glob("detections-*.npz")}) == 3


def task_counts(run, folder):
    """Test a run again, whether it was tested or not."""
    counts, weights = evaluate_task.evaluate(run, folder, SINGLE_PROCESS, None)
    return {**counts, "weights": weights}


def test_a_test_with_other_data_than_the_trainings_is_said_to_be_one(squares, copied, heard):
    """Photographs of a test set can have been trained on if the sets were made again."""
    run = chain(squares)["joint"]
    folder = copied(*run.needs, run) / "runs" / run.id
    task_counts(run, folder)
    assert "other data" not in heard.text
    file = folder / "environment.json"
    (data,) = {session["data"] for session in Record(folder).environment()}
    file.write_text(file.read_text().replace(data, "0123456789abcdef"))
    task_counts(run, folder)
    assert f"trained with other data (checksum 0123456789abcdef, now {data})" in heard.text


def test_a_test_that_was_stopped_goes_on_with_the_photographs_that_are_left(
    squares, copied, tmp_path, monkeypatch
):
    """Unless the weights are others; one with a power cut, from what it had saved."""
    run = with_fields(chain(squares)["joint"], evaluation={"refine": True})
    looks = []

    def look(*args):
        looks.append(args)
        if len(looks) == fails_at:
            raise KeyboardInterrupt
        return detect(*args)

    monkeypatch.setattr(testing, "detect", look)
    fails_at = 0
    results = copied(*run.needs, run)
    expected = counts_of(run, results)
    number = len(looks)
    assert number == expected["num_images"] >= 5
    folder = results / "runs" / run.id
    path = detections_path(folder, run.config.evaluation)
    whole = path.read_bytes()
    path.unlink()

    with pytest.raises(StoppedRun, match="run the same command to resume it"):
        evaluate_task.evaluate(run, folder, SINGLE_PROCESS, StopAfter(2))
    saving = with_fields(run, compute={"save_minutes": 0.0})
    fails_at = number + 2 + 2
    with pytest.raises(KeyboardInterrupt):
        evaluate_task.evaluate(saving, folder, SINGLE_PROCESS, None)
    looks.clear()
    fails_at = 0
    (kept,) = folder.glob("unfinished-*")
    content = kept.read_bytes()
    assert task_counts(run, folder) == expected
    assert len(looks) == number - 3
    assert not list(folder.glob("unfinished-*"))
    assert path.read_bytes() == whole
    monkeypatch.setattr("resnet_repro.engine.detection.task.weights_hash", lambda model: "others")
    kept.write_bytes(content)
    looks.clear()
    task_counts(run, folder)
    assert len(looks) == number
    cut = testing.UnfinishedDetections(tmp_path, "test", SINGLE_PROCESS, "anything", 1.0)
    (tmp_path / "unfinished-0of1-test").write_bytes(content[:100])
    assert cut.load() == {}


def test_an_ensembles_regions_are_those_of_all_members(squares, copied, tmp_path):
    """Two of the same network give its own detections; their proposals are united."""
    run = chain(squares)["joint"]
    results = copied(*run.needs, run)
    (alone,) = Record(results / "runs" / run.id).evaluations().values()
    test = run.config.evaluation
    ensemble = Ensemble("both", (run, run), test)
    folder = tmp_path / "runs" / ensemble.id
    evaluate_ensemble(ensemble, folder, [results / "runs" / run.id] * 2, SINGLE_PROCESS)
    together = Record(folder).evaluations()[test.key]
    assert together["members"] == [run.id] * 2
    assert together["voc12"] == pytest.approx(alone["voc12"], abs=1e-3)
    ours, theirs = (
        Detections.load(detections_path(each, test)) for each in (folder, results / "runs" / run.id)
    )
    assert len(ours) == len(theirs)
    torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-5, rtol=1e-4)


def test_a_stopped_test_of_an_ensemble_goes_on(squares, copied, tmp_path, monkeypatch):
    run = chain(squares)["joint"]
    results = copied(*run.needs, run)
    ensemble = Ensemble("both", (run, run), run.config.evaluation)
    folder, members = tmp_path / "runs" / ensemble.id, [results / "runs" / run.id] * 2
    with monkeypatch.context() as patch:
        stopping = lambda _: nullcontext(StopAfter(2))  # noqa: E731
        patch.setattr("resnet_repro.engine.evaluate_runs.stop_signals", stopping)
        with pytest.raises(StoppedRun, match="during a test"):
            evaluate_ensemble(ensemble, folder, members)
    assert not Record(folder).evaluations()
    assert len([*folder.glob("unfinished-*")]) == 1
    evaluate_ensemble(ensemble, folder, members)
    assert Record(folder).evaluations()[run.config.evaluation.key]["num_images"] == NUM_TEST


def test_a_stopped_test_is_no_evaluation(squares, copied):
    run = with_fields(chain(squares)["joint"], evaluation={"refine": True})
    results = copied(*run.needs, chain(squares)["joint"])
    folder = results / "runs" / run.id
    with pytest.raises(StoppedRun, match="during a test"):
        evaluate_run(run, folder, SINGLE_PROCESS, StopAfter(2))
    assert len(Record(folder).evaluations()) == 1
    assert counts_of(run, results)["num_images"] == NUM_TEST


@pytest.fixture
def damaged(tmp_path, copied, squares):
    """Return a joint run on photographs of which one to train and one to test on are damaged."""
    root = tmp_path / "set"
    write_squares(root)
    for name in ("000003", "000012"):
        path = root / f"JPEGImages/{name}.jpg"
        path.write_bytes(path.read_bytes()[:300])  # its header is whole
    first = chain(squares)["classification"]
    copied(first)
    return Run("net", settings(root), (first,))


def test_a_photograph_that_cannot_be_read_is_named(damaged, tmp_path):
    with pytest.raises(UserError, match=r"0000(03|12)\.jpg cannot be read") as caught:
        train(damaged, tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_photographs_that_cannot_be_read_are_skipped_and_counted(damaged, tmp_path):
    """Neither they nor their objects count in a test; another stands in for them in training."""
    run = with_fields(damaged, data={"skip_unreadable": True})
    folder = train(run, tmp_path)
    assert Record(folder).events()[-1]["num_unreadable"] == 2
    (test,) = Record(folder).evaluations().values()
    scenes = load_scenes(run.config.data).test
    objects = sum(len(scene.boxes) for scene in scenes if scene.name != "000012")
    assert (test["num_images"], test["num_objects"]) == (NUM_TEST - 1, objects)
    proposals = Run("rpn", settings(run.config.data.root, "proposals"), run.needs)
    proposals = with_fields(proposals, data={"skip_unreadable": True})
    (test,) = Record(train(proposals, tmp_path)).evaluations().values()
    assert (test["num_images"], test["num_objects"]) == (NUM_TEST - 1, objects)


def test_a_repaired_photograph_gets_its_proposals(squares, copied, tmp_path):
    """Its part is made again by the next run that asks, here another seed."""
    root, skips = tmp_path / "set", {"data": {"skip_unreadable": True}}
    write_squares(root)
    path = root / "JPEGImages/000003.jpg"
    whole = path.read_bytes()
    first = chain(squares)["classification"]
    copied(first)
    proposer = with_fields(Run("rpn", settings(root, "proposals"), (first,)), **skips)
    run = with_fields(Run("net", settings(root, "regions"), (first, proposer)), **skips)
    folder = train(proposer, tmp_path)
    path.write_bytes(whole[:-200])  # its header is whole, and the set as it was

    def numbers():
        of_training = max(folder.glob("proposals-*/*.bin"), key=lambda path: path.stat().st_size)
        files = ProposalFiles(of_training.parent, NUM_TRAIN)
        return [len(files[position]) for position in range(NUM_TRAIN)]

    train(run, tmp_path)
    before = numbers()
    assert [position for position, number in enumerate(before) if not number] == [3]
    path.write_bytes(whole)
    train(replace(run, config=replace(run.config, seed=1)), tmp_path)
    after = numbers()
    assert after[3] > 0
    assert after[:3] + after[4:] == before[:3] + before[4:]


def test_a_photograph_of_another_size_than_its_boxes_are_for_is_named(
    squares, copied, tmp_path, monkeypatch
):
    root = tmp_path / "set"
    write_squares(root)
    run = Run("net", settings(root), (chain(squares)["classification"],))
    copied(*run.needs)
    real = tasks.make_task

    def replaced_later(*args):
        task = real(*args)
        load = task.load

        def load_and_replace():
            data = load()
            Image.new("RGB", (20, 10)).save(root / "JPEGImages/000010.jpg")
            return data

        task.load = load_and_replace
        return task

    monkeypatch.setattr("resnet_repro.engine.train.make_task", replaced_later)
    with pytest.raises(UserError, match=r"000010.jpg has 20 x 10 pixels, and had 56 x 56 when"):
        train(run, tmp_path)


def test_proposals_do_not_depend_on_the_precision_of_the_run_that_asks(squares, whole, copied):
    """Runs share them: they are made in that of the network that proposes."""
    run = chain(squares)["regions"]
    results = copied(*run.needs)
    (folder,) = (results / "runs").glob("*proposals*")
    before = {path.relative_to(results): path.read_bytes() for path in folder.glob("*/*.bin")}
    for path in before:
        (results / path).unlink()
    train(with_fields(run, recipe={"precision": "bf16"}), results)
    assert {path: (results / path).read_bytes() for path in before} == before


def test_a_detector_of_real_photographs_is_scored_by_the_rules_of_coco(copied, squares):
    pytest.importorskip("faster_coco_eval")
    first = chain(squares)["classification"]
    boxes = BoxesConfig(train=["val2017"], test=["val2017"], longest=96)
    data = {"name": "coco", "root": str(real("coco-val2017-22")), "boxes": boxes, "num_classes": 80}
    config = settings(squares, data=data, model={"num_classes": 80}, recipe={"iterations": 2})
    run = Run("net", config, (first,))
    folder = train(run, copied(first))
    (test,) = Record(folder).evaluations().values()
    found = Detections.load(detections_path(folder, config.evaluation))
    rows = json.loads(detections_path(folder, config.evaluation).with_suffix(".json").read_text())
    assert len(rows) == len(found) > 0
    assert test["num_images"] == 22
    assert test["num_objects"] == 256 - 5  # without crowds
    assert 0 <= test["map"] <= test["map50"] < 50
    assert len(test["per_class"]) == 80


def test_a_detector_on_ilsvrcs_det_is_scored_by_its_rules(copied, squares, tmp_path):
    """The blacklist's class does not count in the photograph on it, in scores and curves."""
    first = chain(squares)["classification"]
    names = [f"{name}{number}" for name in "ab" for number in range(4)]
    things = [xml_object("n1", 1, 1, 30, 30), xml_object("n2", 5, 5, 40, 30)]
    write_det(
        tmp_path / "det",
        {"val": [f"{name} {i}" for i, name in enumerate(names, 1)], "val1": names[:4],
         "val2": names[4:]},
        {f"val/{name}": things for name in names},
    )  # fmt: skip
    blacklist = "devkit/data/ILSVRC2014_det_validation_blacklist.txt"
    write_files(tmp_path / "det", {blacklist: "5 n1\n"})
    data = {
        "name": "ilsvrc_det", "root": str(tmp_path / "det"), "num_classes": 2,
        "boxes": BoxesConfig(train=["val1"], test=["val2"], longest=96),
    }  # fmt: skip
    config = settings(squares, data=data, model={"num_classes": 2}, recipe={"iterations": 2})
    folder = train(Run("net", config, (first,)), copied(first))
    (test,) = Record(folder).evaluations().values()
    per_class = [test["per_class"][name] for name in ("n1", "n2")]
    assert (test["num_images"], test["num_objects"]) == (4, 7)
    numbers, areas = zip(*((each["num_objects"], each["det"]) for each in per_class), strict=True)
    assert (numbers, test["det"]) == ((3, 4), pytest.approx(mean(areas)))
    found = Detections.load(detections_path(folder, config.evaluation))
    scenes = load_scenes(config.data).test
    curves = read_curves(folder, config.evaluation.key)
    for label, name in enumerate(scenes.class_names):
        made = det_curve(found, scenes, label)
        is_right = np.diff(made.right, prepend=0) > 0
        assert curves[name] == pytest.approx(precision_curve(is_right.tolist(), made.num_objects))


def test_a_missing_package_for_the_scores_of_coco_is_said_before_the_training(
    squares, copied, monkeypatch
):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    first = chain(squares)["classification"]
    run = with_fields(Run("net", settings(squares), (first,)), data={"name": "coco"})
    with pytest.raises(UserError, match=r"pip install 'faster-coco-eval"):
        train(run, copied(first))
