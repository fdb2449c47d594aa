"""An experiment of detectors with made-up results; its rows are small image classifiers."""

import json

from resnet_repro.records.archive import Archive, Result, save_archive
from tests.support.results import SESSION

PROTOCOL = "single_view"
WORDS = ("--config-dir", "mine", "experiment=boxes")
# [He15] Table 8 and its text; the classes are made up.
EXPERIMENT = """\
# @package _global_
defaults:
  - override /model: cifar_resnet
  - override /data: cifar10
  - override /recipe: cifar_64k

paper:
  cite: He15
  where: Table 8
  title: Detection with two networks
  measures: [map50, map]

rows:
  - name: VGG-16
    set: {model.depth: 8}
    paper:
      {values: {map50: 41.5, map: 21.2}, per_class: {person: 50.1, dining table: 32.9}, decimals: 1}
  - name: ResNet-101
    set: {model.depth: 14}
    paper:
      {values: {map50: 48.4, map: 27.2}, per_class: {person: 58.2, dining table: 38.6}, decimals: 1}
  - {name: ResNet-110, set: {model.depth: 20}, fail_below: 5}

claims:
  - {text: Deeper is better, where: Sec. 4.3, rising: [VGG-16, ResNet-101], measure: map}
  - {text: The deepest is best, highest: ResNet-110, measure: map50}
  - text: A 28 % relative improvement
    gain: {over: VGG-16, of: ResNet-101, percent: 28}
    measure: map
"""
# mAP@.5 and mAP@[.5:.95] of each seed; ResNet-110 fails once.
VALUES = {
    "VGG-16": [(41.3, 21.1), (41.6, 21.3), (41.5, 21.2)],
    "ResNet-101": [(49.4, 27.3), (49.5, 27.2), (49.3, 27.1)],
    "ResNet-110": [(50.1, 28.0), (1.2, 0.3), (50.3, 28.2)],
}


_runs: list[dict] = []  # of the experiment, once they were asked for


def score(map50, map):
    classes = {
        "person": {"map50": map50 + 8, "map": map + 5, "num_objects": 40},
        "dining table": {"map50": max(0, map50 - 8), "map": max(0, map - 5), "num_objects": 7},
        "sofa": {"map50": None, "map": None, "num_objects": 0},
    }
    return {"num_images": 100, "num_objects": 47, "map50": map50, "map": map, "per_class": classes}


def write_records(run_cli, folder, values=VALUES, results="results"):
    """Write the experiment's file and the records of made-up runs; return the results by id."""
    mine = folder / "mine/experiment"
    mine.mkdir(parents=True, exist_ok=True)
    (mine / "boxes.yaml").write_text(EXPERIMENT)
    if not _runs:
        outcome = run_cli("status", *WORDS, "seeds=[0,1,2]", "format=json")
        assert outcome.code == 0, outcome.err
        _runs.extend(json.loads(outcome.out)["runs"])
    made = {}
    for run in _runs:
        each = values.get(run["row"], [])[run["seed"] : run["seed"] + 1]
        for map50, map in each:
            made[run["id"]] = Result(
                id=run["id"],
                row=run["row"],
                seed=run["seed"],
                state="finished",
                iteration=64000,
                evaluations={PROTOCOL: score(map50, map)},
                train_error=None,
                reason=None,
                seconds=7200.0,
                weights=f"sha256 of {run['id']} {map50}",
                train_curve=[],
                test_curve=[(8000, map / 3), (32000, map / 1.5), (64000, map)],
                sessions=[SESSION],
                loss_curve=[(k * 1000, 30 / (k + map / 3)) for k in range(1, 65)],
            )
    save_archive(folder / results / "boxes/records.json", Archive("boxes", (), made))
    return made
