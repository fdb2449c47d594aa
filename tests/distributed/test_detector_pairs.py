"""Two processes that train and test a detector."""

import shutil

import pytest
import torch

from resnet_repro.detection.detections import Detections
from resnet_repro.engine.detection.testing import detections_path
from resnet_repro.launch.processes import run_in_processes
from resnet_repro.records import Record
from tests.support.detection_runs import chain, train, weights, with_fields, write_squares
from tests.support.detector_pairs import train_detectors


@pytest.mark.slow
def test_two_processes_train_and_detect_what_one_does(tmp_path):
    """Proposals, regions and both at once; the last has one photograph to test on for two.

    And again, stopped while proposals are made: to the same bits.
    """
    write_squares(tmp_path / "set")
    lowest = {"recipe": {"iterations": 4}, "evaluation": {"every": 4}}
    made = chain(tmp_path / "set", **lowest)
    one = {"boxes": type(made["joint"].config.data.boxes)(train=["trainval"], test=["one"])}
    made["joint"] = with_fields(made["joint"], data=one)
    for run in made.values():
        train(run, tmp_path / "one")
    for root in ("two", "again"):
        shutil.copytree(
            tmp_path / "one/runs" / made["classification"].id,
            tmp_path / root / "runs" / made["classification"].id,
        )
    runs = [made[name] for name in ("proposals", "regions", "joint")]
    run_in_processes(train_detectors, 2, runs, tmp_path / "two", tmp_path / "again")
    for run in runs:
        folders = [tmp_path / root / "runs" / run.id for root in ("one", "two")]
        one, two = (weights(folder) for folder in folders)
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
        single, double = (Record(folder) for folder in folders)
        losses = [
            [event["loss"] for event in record.events() if event["event"] == "train"]
            for record in (single, double)
        ]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
        (theirs,), (ours,) = (record.evaluations().values() for record in (single, double))
        assert ours["num_images"] == theirs["num_images"]
        assert ours["num_objects"] == theirs["num_objects"]
        if run.config.detector.step == "proposals":
            continue
        if run.config.detector.step == "regions":
            again = weights(tmp_path / "again/runs" / run.id)
            assert all(torch.equal(two[name], again[name]) for name in two)
        found = [Detections.load(detections_path(f, run.config.evaluation)) for f in folders]
        assert len(found[0]) == len(found[1]) > 0
        torch.testing.assert_close(found[1].scores, found[0].scores, atol=1e-4, rtol=1e-3)
        assert set(found[1].images.tolist()) == set(range(ours["num_images"]))
