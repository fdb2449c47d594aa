"""Tests of networks against slow obvious versions; tests of finished runs, of several together."""

import json
import os
import pickle
import warnings
import zipfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from test_photos import feed_of, settings, write_set  # noqa: F401 - a fixture
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import load_data
from resnet_repro.data.photos import read
from resnet_repro.distributed.group import ALONE, Group
from resnet_repro.engine.classification import count_errors
from resnet_repro.engine.evaluate import Classifier, predict, reestimated
from resnet_repro.engine.evaluate_imported import read_weights, torchvision_inputs
from resnet_repro.engine.evaluate_runs import evaluate_ensemble, evaluate_run
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.train import train
from resnet_repro.errors import UserError
from resnet_repro.launch.local import carry_out
from resnet_repro.models import build_model
from resnet_repro.plan import Ensemble, Run
from resnet_repro.records import Record
from resnet_repro.settings.evaluation import EvaluationConfig

CPU = torch.device("cpu")
EXACT = Execution(CPU, torch.autocast("cpu", enabled=False))
ONE = EvaluationConfig(protocol="one_crop", sizes=[40], crop=32, batch_size=5)
TEN = EvaluationConfig(protocol="ten_crop", sizes=[40], crop=32, batch_size=50)
SCALES = EvaluationConfig(protocol="multi_scale", sizes=[24, 40, 64], crop=32, batch_size=5)


@pytest.fixture
def network(settings):  # noqa: F811
    """Return a small network that finds the images different."""
    torch.manual_seed(0)
    feed, model = feed_of(settings), build_model(settings.model)
    views = torch.cat([views[:, 0] for _, views in feed.test(ONE)])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(views)
        logits = model.eval()(views)
        model.fc.weight.mul_(2 / logits.std(dim=0).mean())
        model.fc.bias.sub_(model(views).mean(dim=0))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return model


def slowly(network, settings, inputs, views_of):  # noqa: F811
    """One image at a time, one view at a time: the mean of the softmax."""
    photos, scores = load_data(settings.data).test, []
    for index in range(len(photos)):
        probabilities = [
            network(inputs.normalise(view[None])).softmax(dim=1)[0]
            for view in views_of(read(photos, index))
        ]
        scores.append(torch.stack(probabilities).mean(dim=0))
    return torch.stack(scores)


def same(view):
    return view


VIEWS = {
    ONE.key: (ONE, lambda x: [v2.CenterCrop(32)(v2.Resize(40)(x))]),
    TEN.key: (
        TEN,
        lambda x: [f(crop) for crop in v2.FiveCrop(32)(v2.Resize(40)(x)) for f in (tv.hflip, same)],
    ),
    SCALES.key: (SCALES, lambda x: [v2.Resize(size)(x) for size in (24, 40, 64)]),
    "flip": (
        replace(SCALES, flip=True),
        lambda x: [f(v2.Resize(s)(x)) for s in (24, 40, 64) for f in (tv.hflip, same)],
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_protocol_is_what_it_says_one_image_at_a_time(settings, network, name, workers):  # noqa: F811
    evaluation, views_of = VIEWS[name]
    settings = replace(settings, compute=replace(settings.compute, workers=workers))
    feed = feed_of(settings)
    scores = predict(Classifier(network, EXACT), feed, evaluation)
    expected = slowly(network, settings, feed.inputs, views_of)
    assert expected.std(dim=0).min() > 0.01
    torch.testing.assert_close(scores / scores.sum(dim=1, keepdim=True), expected)
    wrong = (expected.argmax(dim=1) != feed.test_labels).sum()
    assert count_errors(scores, feed.test_labels) == {"num_errors": int(wrong), "num_images": 12}


def test_several_processes_test_each_image_once(settings, network):  # noqa: F811
    whole = feed_of(settings)
    scores = predict(Classifier(network, EXACT), whole, TEN)
    for size in (2, 5):  # 12 images: not the same number each
        recipe = replace(settings.recipe, bn_batch=None, batch_size=20)
        config = replace(settings, recipe=recipe)
        for rank in range(size):
            feed = feed_of(config, group=Group(rank, size), inputs=whole.inputs)
            torch.testing.assert_close(
                predict(Classifier(network, EXACT), feed, TEN), scores[rank::size]
            )


def test_the_five_best_count():
    scores = torch.eye(8) + torch.arange(8.0) / 100
    labels = torch.tensor([0, 1, 0, 0, 7, 7, 6, 0])  # of 5 best: the own class, then 7, 6, 5, 4
    ranked = [scores[i].argsort(descending=True).tolist() for i in range(8)]
    first = sum(labels[i] != ranked[i][0] for i in range(8))
    five = sum(int(labels[i]) not in ranked[i][:5] for i in range(8))
    assert count_errors(scores, labels) == {
        "num_errors": first,
        "num_errors_top5": five,
        "num_images": 8,
    }
    assert (int(first), five) == (5, 3)


def test_an_unreadable_test_image_is_left_out_of_the_count(settings, network, tmp_path):  # noqa: F811
    (tmp_path / "set" / "val" / "n00000001" / "2.JPEG").write_bytes(b"")
    with pytest.raises(UserError, match=r"2\.JPEG cannot be read"):
        predict(Classifier(network, EXACT), feed_of(settings), TEN)
    feed = feed_of(replace(settings, data=replace(settings.data, skip_unreadable=True)))
    scores = predict(Classifier(network, EXACT), feed, TEN)
    assert count_errors(scores, feed.test_labels)["num_images"] == 11


def test_reestimated_averages_are_the_mean_over_the_groups(settings, network):  # noqa: F811
    feed = feed_of(settings)
    batches = list(feed.train(0, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = network.stem
    groups = [part for images, _ in batches for part in images.split(8)]
    outputs = [first.conv(group) for group in groups]
    mean = torch.stack([out.mean(dim=(0, 2, 3)) for out in outputs]).mean(dim=0)
    var = torch.stack([out.var(dim=(0, 2, 3)) for out in outputs]).mean(dim=0)
    with torch.no_grad(), reestimated(network, batches, 8, EXACT):
        torch.testing.assert_close(first.bn.running_mean, mean)
        torch.testing.assert_close(first.bn.running_var, var)
        assert not network.training
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert first.bn.momentum == 0.1


def test_an_ensemble_averages_its_members(settings, tmp_path):  # noqa: F811
    settings = replace(settings, evaluation=TEN)
    runs = [Run("ResNet-8", replace(settings, seed=seed)) for seed in (0, 1)]
    folders = [tmp_path / str(seed) for seed in (0, 1)]
    for run, folder in zip(runs, folders, strict=True):
        carry_out(run, folder, ALONE)
    ensemble = Ensemble("both", tuple(runs), TEN)
    evaluate_ensemble(ensemble, tmp_path / "both", folders)
    scores, feed = [], feed_of(settings)
    for folder in folders:
        model = build_model(settings.model)
        model.load_state_dict(torch.load(folder / "last.pt")["model"])
        scores.append(predict(Classifier(model.eval(), EXACT), feed, TEN))
    test = Record(tmp_path / "both").evaluations()[TEN.key]
    expected = count_errors(sum(scores), feed.test_labels)
    assert expected.items() <= test.items()
    assert test["weights"] == [Record(f).events()[-1]["weights"] for f in folders]


def test_a_finished_run_is_tested_by_any_protocol(settings, tmp_path):  # noqa: F811
    run = Run("ResNet-8", replace(settings, evaluation=TEN))
    carry_out(run, tmp_path / "run", ALONE)
    tests = Record(tmp_path / "run").evaluations()
    assert list(tests) == ["one_crop 32/40", "ten_crop 32/40"]  # that of the curve, and its own
    averaged = replace(ONE, batch_norm="reestimated", batch_norm_images=48)
    evaluate_run(replace(run, config=replace(settings, evaluation=averaged)), tmp_path / "run")
    assert "one_crop 32/40 reestimated:48" in Record(tmp_path / "run").evaluations()
    (tmp_path / "run" / "last.pt").unlink()
    unseen = replace(run, config=replace(settings, evaluation=SCALES))
    with pytest.raises(UserError, match=r"the weights of run are not here: bring last"):
        evaluate_run(unseen, tmp_path / "run")


def test_a_run_on_photographs_goes_on_in_the_middle_of_an_epoch(settings, tmp_path, monkeypatch):  # noqa: F811
    """24 photographs, 16 a mini-batch: iterations end inside epochs."""
    compute = replace(settings.compute, save_minutes=0.0, workers=2)
    photo = replace(settings.recipe.photo, jitter=0.4)
    recipe = replace(settings.recipe, photo=photo)
    run = Run("ResNet-8", replace(settings, compute=compute, recipe=recipe))
    train(run, tmp_path / "whole")
    from resnet_repro.engine.step import Step

    real, calls = Step.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) in (3, 6):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(Step, "__call__", cut)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(run, tmp_path / "broken")
    train(run, tmp_path / "broken")
    ends = [Record(tmp_path / name).events()[-1]["weights"] for name in ("whole", "broken")]
    assert ends[0] == ends[1]


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
    assert "evaluation = ten_crop 32/40, in the experiment ten_crop 224/256" in done.out
    again = run_cli(*words)
    assert "0 to train" in again.out
    other = run_cli(
        "evaluate", *words, "row=ResNet-50", "evaluation=multi_scale", "evaluation.sizes=[32,48]"
    )
    assert other.code == 0, other.err
    assert "ResNet-50 seed 0, multi_scale 32,48: error" in other.out
    mirrored = ("row=ResNet-50", "evaluation=one_crop", "evaluation.flip=true")
    status = run_cli("status", *words, *mirrored)
    assert "trained, not tested by one_crop 32/40 flip" in status.out


def test_nothing_finished_is_nothing_to_evaluate(run_cli):
    outcome = run_cli("evaluate", *WORDS)
    assert outcome.code == 1
    assert "no run of imagenet_depth with these settings is finished here" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("experiment=imagenet_plain", "data=cifar10"), "CIFAR-10 is held in memory: say recipe="),
        (
            ("experiment=cifar_depth", "data=imagenet"),
            "recipe.crop_padding=4 is for images held in",
        ),
        (("experiment=cifar_depth", "evaluation=ten_crop"), "tested with evaluation=single_view"),
        (("experiment=imagenet_plain", "evaluation=single_view"), "photographs take evaluation="),
        (
            ("experiment=imagenet_plain", "recipe.photo.scale=[100,300]"),
            "a crop of data.image_size",
        ),
        (("experiment=imagenet_plain", "recipe.plateau.window=9"), "say 'recipe.lr_drops=[]'"),
        (
            ("experiment=imagenet_plain", "evaluation.crop=300"),
            "crop=300: from 8 to 256 pixels",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_before_anything_runs(run_cli, words, message):
    outcome = run_cli("plan", *words)
    assert outcome.code == 1
    assert message in outcome.err


def test_settings_of_the_chosen_row_need_not_suit_the_others(run_cli):
    outcome = run_cli("verify", "experiment=imagenet_depth", "row=ResNet-50", "model.stride_in=3x3")
    assert "| ResNet-50 |     50 |" in outcome.out
    quoted = run_cli("plan", "experiment=imagenet_plain", "row=ResNet-18", "A")
    assert "a value with a space is quoted: 'row=ResNet-18 A'" in quoted.err


def test_published_weights_are_tested_as_torchvision_would(run_cli, tmp_path, settings):  # noqa: F811
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=3)
    nn.init.normal_(theirs.fc.weight, std=2.0)
    path = tmp_path / "resnet18-f37072fd.pth"  # the name under which torchvision publishes it
    torch.save(theirs.state_dict(), path)
    outcome = run_cli("import", f"weights={path}", f"data.root={tmp_path / 'set'}",
                      "data.num_classes=3", "data.title=three", "evaluation.sizes=[40]",
                      "evaluation.crop=32", "compute.workers=0", "compute.device=cpu")  # fmt: skip
    assert outcome.code == 0, outcome.err
    (folder,) = (tmp_path / "results" / "imported").iterdir()
    test = json.loads((folder / "evaluations.json").read_text())["one_crop 32/40"]
    with torch.no_grad():
        expected = slowly(theirs.eval(), settings, torchvision_inputs(), VIEWS[ONE.key][1])
    labels = torch.from_numpy(load_data(settings.data).test.labels)
    assert test["num_errors"] == int((expected.argmax(dim=1) != labels).sum())
    assert test["imported"] == path.name
    assert test["network"] == "ResNet-18"
    assert test["published"]["protocol"] == "one_crop 224/256"
    assert 30 < test["published"]["error"] < 31
    assert "imported, not trained here" in outcome.out
    assert not (tmp_path / "results" / "runs").exists()


def wrapped(weights, *prefixes):
    """Return weights under the names that a wrapper gives them."""
    for prefix in prefixes:
        weights = {prefix + name: tensor for name, tensor in weights.items()}
    return weights


def test_weights_are_found_in_what_training_scripts_save(tmp_path):
    plain = torchvision.models.resnet18(num_classes=3).state_dict()
    inside = {name.replace("0.conv1", "0._orig_mod.conv1"): w for name, w in plain.items()}
    for content in (
        plain,
        {"state_dict": wrapped(plain, "module."), "epoch": 3, "best_acc1": torch.tensor(0.3)},
        {"model": plain, "args": Namespace(lr=0.1), "model_ema": wrapped(plain, "module.")},
        {"model_state_dict": wrapped(plain, "_orig_mod.")},
        {"model": {"state_dict": wrapped(plain, "module.", "_orig_mod.")}},
        {"state_dict": wrapped(plain, "model.")},
        wrapped(plain, "_orig_mod.", "module."),
        wrapped(inside, "_fsdp_wrapped_module."),
        {**wrapped(plain, "module."), "n_averaged": torch.tensor(7)},
    ):
        torch.save(content, tmp_path / "x.pth")
        found = read_weights(tmp_path / "x.pth")
        assert found.keys() == plain.keys()
        assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_weights_in_bf16_are_tested_in_fp32(run_cli, tmp_path, settings):  # noqa: F811
    torch.manual_seed(0)
    weights = torchvision.models.resnet18(num_classes=3).bfloat16().state_dict()
    rounded = {name: w.float() if w.is_floating_point() else w for name, w in weights.items()}
    errors = []
    for name, each in {"half": weights, "whole": rounded}.items():
        torch.save(each, tmp_path / f"{name}.pth")
        outcome = run_cli("import", f"weights={name}.pth", f"data.root={tmp_path / 'set'}",
                          "data.num_classes=3", "data.title=three", "evaluation.sizes=[40]",
                          "evaluation.crop=32", "compute.workers=0",
                          "compute.device=cpu")  # fmt: skip
        assert outcome.code == 0, outcome.err
        (folder,) = (tmp_path / "results" / "imported").glob(f"{name}-*")
        test = json.loads((folder / "evaluations.json").read_text())["one_crop 32/40"]
        errors.append(test["num_errors"])
    assert errors[0] == errors[1]


def spoilt(name, value, kind=torch.float32):
    """Return how to write weights of which one tensor is none that a network has."""

    def write(path):
        weights = torchvision.models.resnet18(num_classes=3).state_dict()
        weights[name] = weights[name].clone().fill_(value).to(kind)
        torch.save(weights, path)

    return write


def scripted(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)


def other_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.txt", "x")


def half_of_it(path):
    torch.save(nn.Linear(9, 9).state_dict(), path)
    path.write_bytes(path.read_bytes()[:700])


RUNS_CODE = "Reading those can run any code, so it is not read. Save the weights alone"
NO_WEIGHTS = "is not a file of weights that torch.save wrote, or is damaged"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (Path.mkdir, "that is not a file"),
        (os.mkfifo, "that is not a file"),
        (b"", NO_WEIGHTS),
        (b"<html>404</html>", NO_WEIGHTS),
        (b"some text\n", NO_WEIGHTS),
        (pickle.dumps({"a": {1}}), NO_WEIGHTS),
        (other_zip, NO_WEIGHTS),
        (half_of_it, NO_WEIGHTS),
        (scripted, "is a TorchScript program"),
        (nn.Linear(2, 2), f"(torch.nn.modules.linear.Linear) beside or in place of weights.\n"
         f"{RUNS_CODE}"),
        ({"a": 1}, "holds no state dict (names and tensors), nor one under state_dict or model; "
         "it holds a"),
        ([torch.zeros(2)], "it holds list"),
        ({"model": None, "epoch": 3}, "it holds model, epoch"),
        ({1: torch.zeros(2)}, "it holds 1"),
        ({"fc.weight": torch.zeros(3, 4)}, "not the weights of a torchvision ResNet"),
        ({"model": {"stem.conv.weight": torch.zeros(3, 4)}}, "of a run of ours: `evaluate` tests"),
        (spoilt("bn1.running_mean", float("nan")), "bn1.running_mean holds nan or infinity"),
        (spoilt("layer1.0.conv1.weight", float("inf")), "layer1.0.conv1.weight holds nan or inf"),
        (spoilt("layer1.0.bn2.running_var", -1), "layer1.0.bn2.running_var holds variances below"),
        (spoilt("fc.weight", 1, torch.int8), "fc.weight holds int8, not floating-point numbers"),
        (
            {
                "state_dict": {
                    f"module.{name}": tensor
                    for name, tensor in torchvision.models.resnet18().state_dict().items()
                    if name != "fc.bias"
                }
            },
            'does not fit ResNet-18: Missing key(s) in state_dict: "fc.bias"',
        ),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_weights_is_refused(run_cli, tmp_path, content, message):
    """And torch's advice, to read it unsafely, is not passed on."""
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif callable(content) and not isinstance(content, nn.Module):
        content(path)
    elif content is not None:
        torch.save(content, path)
    outcome = run_cli("import", f"weights={path}", "data.root=nowhere")
    assert outcome.code == 1
    assert message in outcome.err
    assert "weights_only" not in outcome.err
    assert "Traceback" not in outcome.err
