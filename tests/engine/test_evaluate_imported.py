"""Weights of others: found in a file, tested, or refused."""

import json
import os
import pickle
import warnings
import zipfile
from argparse import Namespace
from functools import cache
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from resnet_repro.data import load_data
from resnet_repro.engine import evaluate_imported
from resnet_repro.engine.evaluate_imported import read_weights, torchvision_inputs
from tests.support.protocols import ONE, VIEWS, slowly

# Of three classes of photographs below the folder in which the command runs.
ON_THREE = ("data.root=set", "data.num_classes=3", "data.title=three", "evaluation.sizes=[40]",
            "evaluation.crop=32", "compute.workers=0", "compute.device=cpu")  # fmt: skip


def test_published_weights_are_tested_as_torchvision_would(run_cli, tmp_path, settings):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=3)
    nn.init.normal_(theirs.fc.weight, std=2.0)
    path = tmp_path / "resnet18-f37072fd.pth"  # the name under which torchvision publishes it
    torch.save(theirs.state_dict(), path)
    outcome = run_cli("import", f"weights={path}", *ON_THREE)
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
    # On other photographs it is another result, and no published number is of them.
    more = [word.replace("three", "more") for word in ON_THREE]
    again = run_cli("import", f"weights={path}", *more)
    assert again.code == 0, again.err
    assert len([*(tmp_path / "results" / "imported").iterdir()]) == 2
    assert {"three", "more"} <= {*again.out.replace("|", " ").split()}


@pytest.mark.parametrize("word", ["model.stride_in=1x1", "seeds=[1]", "recipe.lr=1", "row=x"])
def test_what_a_test_of_published_weights_does_not_read_is_refused(run_cli, word):
    outcome = run_cli("import", "weights=resnet18.pth", word)
    assert outcome.code == 1
    assert f"{word}: import tests the network that the file is of" in outcome.err


def wrapped(weights, *prefixes):
    """Return weights under the names that a wrapper gives them."""
    for prefix in prefixes:
        weights = {prefix + name: tensor for name, tensor in weights.items()}
    return weights


@cache
def names_and_types():
    """Return those of a ResNet-18's weights."""
    with torch.device("meta"):
        weights = torchvision.models.resnet18().state_dict()
    return {name: tensor.dtype for name, tensor in weights.items()}


def small_weights(first=0):
    """Return two numbers for each weight of a ResNet-18, other ones for each name."""
    return {
        name: torch.full((2,), number, dtype=dtype)
        for number, (name, dtype) in enumerate(names_and_types().items(), first)
    }


def test_weights_are_found_in_what_training_scripts_save(tmp_path):
    plain, others = small_weights(), small_weights(1)
    inside = {name.replace("0.conv1", "0._orig_mod.conv1"): w for name, w in plain.items()}
    for content in (
        plain,
        {"state_dict": wrapped(plain, "module."), "epoch": 3, "best_acc1": torch.tensor(0.3)},
        {"model": plain, "args": Namespace(lr=0.1), "model_ema": wrapped(others, "module.")},
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


def test_weights_in_bf16_are_tested_in_fp32(run_cli, tmp_path, settings, monkeypatch):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=3).bfloat16()
    torch.save(network.state_dict(), tmp_path / "half.pth")
    network.float().eval()
    torch.save(network.state_dict(), tmp_path / "whole.pth")
    found, real = [], evaluate_imported.predict

    def predict(*args):
        found.append(real(*args))
        return found[-1]

    monkeypatch.setattr(evaluate_imported, "predict", predict)
    for name in ("half", "whole"):
        outcome = run_cli("import", f"weights={name}.pth", *ON_THREE)
        assert outcome.code == 0, outcome.err
    half, whole = found
    assert half.dtype == torch.float32
    assert torch.equal(half, whole)
    with torch.no_grad():
        expected = slowly(network, settings, torchvision_inputs(), VIEWS[ONE.key][1])
    torch.testing.assert_close(half, expected, rtol=1e-4, atol=1e-5)  # which bf16 is not


def spoilt(name, value, kind=torch.float32):
    """Return how to write weights of which one tensor is none that a network has."""

    def write(path):
        weights = small_weights()
        weights[name] = weights[name].fill_(value).to(kind)
        torch.save(weights, path)

    return write


def without_a_bias(path):
    weights = torchvision.models.resnet18().state_dict()
    del weights["fc.bias"]
    torch.save({"state_dict": wrapped(weights, "module.")}, path)


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


RUNS_CODE = "Reading those can run any code, so it is not read. Save only the weights"
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
        (nn.Linear(2, 2), f"(torch.nn.modules.linear.Linear), not only weights.\n"
         f"{RUNS_CODE}"),
        ({"a": 1}, "has no state dict (names and tensors), nor one under state_dict or model; "
         "it has a"),
        ([torch.zeros(2)], "it has list"),
        ({"model": None, "epoch": 3}, "it has model, epoch"),
        ({1: torch.zeros(2)}, "it has 1"),
        ({"fc.weight": torch.zeros(3, 4)}, "not the weights of a torchvision ResNet"),
        ({"model": {"stem.conv.weight": torch.zeros(3, 4)}}, "of a run of ours: use `evaluate`"),
        (spoilt("bn1.running_mean", float("nan")), "bn1.running_mean has nan or infinity"),
        (spoilt("layer1.0.conv1.weight", float("inf")), "layer1.0.conv1.weight has nan or inf"),
        (spoilt("layer1.0.bn2.running_var", -1), "layer1.0.bn2.running_var has variances below"),
        (spoilt("fc.weight", 1, torch.int8), "fc.weight has int8, not floating-point numbers"),
        (without_a_bias, 'does not fit ResNet-18: Missing key(s) in state_dict: "fc.bias"'),
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
    outcome = run_cli("import", "weights=x.pth", "data.root=nowhere")
    assert outcome.code == 1
    assert message in outcome.err
    assert "weights_only" not in outcome.err
    assert "Traceback" not in outcome.err
