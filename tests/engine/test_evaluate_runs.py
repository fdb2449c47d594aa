"""Tests of runs that are trained, and of ensembles of them."""

from dataclasses import replace

import pytest
import torch

from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine.classification import count_errors
from resnet_repro.engine.evaluate import Classifier, predict
from resnet_repro.engine.evaluate_runs import evaluate_ensemble, evaluate_run
from resnet_repro.errors import UserError
from resnet_repro.launch.local import train_and_test
from resnet_repro.models import build_model
from resnet_repro.plan import Ensemble, Run
from resnet_repro.records import Record
from tests.support.photos import feed_of, write_set
from tests.support.protocols import ONE, SCALES, TEN
from tests.support.training import EAGER


def test_an_ensemble_averages_its_members(settings, tmp_path):
    settings = replace(settings, evaluation=TEN)
    runs = [Run("ResNet-8", replace(settings, seed=seed)) for seed in (0, 1)]
    folders = [tmp_path / str(seed) for seed in (0, 1)]
    for run, folder in zip(runs, folders, strict=True):
        train_and_test(run, folder, SINGLE_PROCESS)
    ensemble = Ensemble("both", tuple(runs), TEN)
    evaluate_ensemble(ensemble, tmp_path / "both", folders)
    scores, feed = [], feed_of(settings)
    for folder in folders:
        model = build_model(settings.model)
        model.load_state_dict(torch.load(folder / "last.pt")["model"])
        scores.append(predict(Classifier(model.eval(), EAGER), feed, TEN))
    test = Record(tmp_path / "both").evaluations()[TEN.key]
    expected = count_errors(sum(scores), feed.test_labels)
    assert expected.items() <= test.items()
    assert test["weights"] == [Record(f).events()[-1]["weights"] for f in folders]


def test_a_finished_run_is_tested_by_any_protocol(settings, tmp_path):
    run = Run("ResNet-8", replace(settings, evaluation=TEN))
    train_and_test(run, tmp_path / "run", SINGLE_PROCESS)
    tests = Record(tmp_path / "run").evaluations()
    assert list(tests) == ["one_crop 32/40", "ten_crop 32/40"]  # that of the curve, and its own
    averaged = replace(ONE, batch_norm="reestimated", batch_norm_images=48)
    evaluate_run(replace(run, config=replace(settings, evaluation=averaged)), tmp_path / "run")
    assert "one_crop 32/40 reestimated:48" in Record(tmp_path / "run").evaluations()
    (tmp_path / "run" / "last.pt").unlink()
    unseen = replace(run, config=replace(settings, evaluation=SCALES))
    with pytest.raises(UserError, match=r"the weights of run are not here: copy last"):
        evaluate_run(unseen, tmp_path / "run")


WORDS = (
    "experiment=imagenet_depth",
    "row=[ResNet-50,ResNet-50 one-crop]",
    "data.num_classes=3",
    "data.title=three",
    "data.image_size=32",
    "recipe.photo.scale=[40,64]",
    "recipe.iterations=2",
    "recipe.batch_size=8",
    "recipe.bn_batch=4",
    "recipe.lr_drops=[]",
    "evaluation.sizes=[40]",
    "evaluation.crop=32",
    "evaluation.every=2",
    "compute.workers=0",
    "compute.device=cpu",
)


@pytest.mark.slow
def test_a_table_is_trained_once_and_tested_as_often_as_it_takes(run_cli, tmp_path):
    write_set(tmp_path / "set")
    words = [*WORDS, f"data.root={tmp_path / 'set'}"]
    plan = run_cli("plan", *words)
    assert "as ResNet-50-seed0-" in plan.out  # one run, two rows
    done = run_cli(*words)
    assert done.code == 0, done.err
    assert len(list((tmp_path / "results" / "runs").glob("*-seed*"))) == 1
    line = next(line for line in done.out.splitlines() if line.startswith("| ResNet-50 "))
    assert "after 2 of 600000 iterations" in line
    assert "evaluation = ten_crop 32/40 (experiment: ten_crop 224/256)" in done.out
    again = run_cli(*words)
    assert "0 to train" in again.out
    other = run_cli(
        "evaluate", *words, "row=ResNet-50", "evaluation=multi_scale", "evaluation.sizes=[32,48]"
    )
    assert other.code == 0, other.err
    assert "ResNet-50 seed 0, multi_scale 32,48: error" in other.out
    mirrored = ("row=ResNet-50", "evaluation=one_crop", "evaluation.flip=true")
    status = run_cli("status", *words, *mirrored)
    assert "trained, not tested with one_crop 32/40 flip" in status.out


def test_nothing_finished_is_nothing_to_evaluate(run_cli):
    outcome = run_cli("evaluate", *WORDS)
    assert outcome.code == 1
    assert "no run of imagenet_depth with these settings is finished here" in outcome.err
