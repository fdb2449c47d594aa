"""Localisation from the command line: a small run on photographs with a patch drawn into each."""

import json

import numpy as np
import pytest
from PIL import Image

from resnet_repro.records import Record
from tests.support.ilsvrc import write_files
from tests.support.paths import DATA
from tests.support.photos import jpeg
from tests.support.scenes import annotation, xml_object

NUM_CLASSES, SIDE = 3, 80
FILE = """\
# @package _global_
defaults:
  - /data@steps.classification.data: imagenet
  - /recipe@steps.classification.recipe: classification_quickstart
  - /evaluation@steps.classification.evaluation: one_crop
  - /detector@steps.classification.detector: none
  - /recipe@steps.localisation.recipe: localisation
  - /evaluation@steps.localisation.evaluation: one_crop
  - /detector@steps.localisation.detector: localisation
  - override /model: imagenet_resnet
  - override /data: ilsvrc_loc
  - override /recipe: localisation_regions
  - override /evaluation: multi_scale
  - override /detector: localisation_regions

paper: {measures: [loc_gt, loc_top5]}
model: {depth: 18, width: 8}
data: {title: patches, root: set, image_size: 64, num_classes: 3}
recipe: {iterations: 8, batch_size: 4, lr: 0.02, lr_drops: [40]}
evaluation: {sizes: [64, 80], crop: 64, every: 1000, batch_size: 50, num_proposals: 20}
detector: {num_proposals: 20, proposal_sizes: [64, 80], batch_norm_images: 0, frozen: early}
compute: {device: cpu, threads: 1, log_every: 20}
steps:
  classification:
    seed: 0
    data: {title: patches, root: set, image_size: 64, num_classes: 3}
    recipe:
      iterations: 25
      batch_size: 16
      lr: 0.05
      lr_drops: [20]
      crop_padding: 0
      photo: {scale: [64, 80]}
    evaluation: {sizes: [64], crop: 64, every: 1000}
  localisation:
    start: classification
    seed: 0
    recipe: {iterations: 80, batch_size: 12, lr: 0.05, lr_drops: [60], photo: {scale: [64, 80]}}
    detector: {anchors: [1, 2, 4], batch_norm_images: 16}
    evaluation: {sizes: [80], crop: 64, every: 1000}
  regions: {start: classification, proposals: localisation}

rows:
  - {name: R-CNN, seeds: [0, 1]}
  - {name: both, members: [R-CNN]}
  - {name: both again, members: [R-CNN]}
"""


def with_patch(path, label, draws):
    """Return a photograph with a patch of stripes, whose direction and colours are its class's."""
    if path is None:
        pixels = draws.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)
    else:
        pixels = np.array(Image.open(path).convert("RGB").resize((SIDE, SIDE))) // 2 + 60
    width, height = draws.integers(32, 56, 2)
    x, y = draws.integers(0, SIDE - width + 1), draws.integers(0, SIDE - height + 1)
    patch = pixels[y : y + height, x : x + width]
    patch[...] = 40
    patch[..., label] = 250
    stripes = (slice(None, None, 4), slice(None, None, 4))
    patch[stripes[label % 2 :: 2] if label < 2 else stripes] = 0
    box = xml_object(f"n{label:08d}", x + 1, y + 1, x + width, y + height)
    return Image.fromarray(pixels), annotation(box, width=SIDE, height=SIDE)


@pytest.fixture
def patches(tmp_path):
    """Write 3 classes with 16 training and 6 test photographs each, and the experiment."""
    source = DATA / "imagenette-mini"
    photographs = sorted(source.glob("*/*/*.JPEG")) if source.is_dir() else []
    draws = np.random.default_rng(0)
    number = 0
    for part, count in (("train", 16), ("val", 6)):
        for label in range(NUM_CLASSES):
            for _ in range(count):
                number += 1
                path = photographs[7 * number % len(photographs)] if photographs else None
                image, text = with_patch(path, label, draws)
                folder, name = f"n{label:08d}", f"{part}_{number:04d}"
                xml = f"{folder}/{name}" if part == "train" else name
                write_files(
                    tmp_path / "set",
                    {
                        f"{part}/{folder}/{name}.JPEG": jpeg(image),
                        f"Annotations/{part}/{xml}.xml": text,
                    },
                )
    write_files(tmp_path, {"mine/experiment/patches.yaml": FILE})
    return tmp_path


def test_localisation_trains_and_is_tested_in_steps(patches, run_cli):
    """A classifier, proposals, R-CNN on them, and an ensemble of two seeds: 20 seconds alone."""
    words = ["--config-dir", "mine", "experiment=patches"]
    done = run_cli(*words, "format=json")
    assert done.code == 0, done.err
    runs = patches / "results/runs"
    steps = {each.name.rsplit("-", 1)[0]: each for each in runs.glob("*-seed*")}
    assert len(steps) == 1 + 1 + 2  # the classifier and the proposals are shared
    dense, number = "multi_scale 64,80 top:20", NUM_CLASSES * 6
    tests = {name: Record(folder).evaluations() for name, folder in steps.items()}
    tests["both"] = Record(next(runs.glob("both-of2-*"))).evaluations()
    for name, found in tests.items():
        if "classification" in name:
            continue
        test = found["one_crop 64/80" if "localisation" in name else dense]
        assert test["num_images"] == number
        assert test["num_errors_loc_top5"] >= test["num_errors_loc_gt"]
    # The network finds where the patches are; by chance it would be right in one of five.
    one_crop = tests["R-CNN-localisation-seed0"]["one_crop 64/80"]
    assert one_crop["num_errors_loc_gt"] <= number // 2
    # The test while training is for the given class alone, so it is not the test of such a row.
    assert [*tests["R-CNN-seed0"]] == [dense]
    curve = [event for event in Record(steps["R-CNN-seed0"]).events() if event["event"] == "test"]
    assert curve[-1]["protocol"] == "one_crop 64/80 top:20"
    assert "num_errors_loc_top5" not in curve[-1]
    assert len(tests["both"][dense]["members"]) == 2
    assert not [*runs.glob("both-again-*")]  # the same members and test
    # Proposals of the training set, and of the test set for both tests; made once.
    assert len([*steps["R-CNN-localisation-seed0"].glob("proposals-*")]) == 3
    line, both, again = json.loads(done.out)["lines"]
    assert again["ours"] == both["ours"]
    counts = [tests[f"R-CNN-seed{seed}"][dense]["num_errors_loc_gt"] for seed in (0, 1)]
    assert line["ours"]["mean"] == pytest.approx(100 * sum(counts) / 2 / number)
