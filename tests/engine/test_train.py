"""Training a run: what it computes, and what it records."""

import json
from contextlib import nullcontext
from importlib.metadata import version

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import load_data
from resnet_repro.data.order import BatchOrder
from resnet_repro.engine import tasks
from resnet_repro.engine import train as engine
from resnet_repro.engine.evaluate import Classifier
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.step import Step
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.records import Record
from resnet_repro.settings.recipe import WarmupConfig
from tests.support.runs import changed
from tests.support.training import EAGER, RECIPE, of, train


def test_groups_of_bn_batch_are_normalised_apart_and_their_gradients_add_up(config):
    """A mini-batch of two groups is what two GPUs would do: each its own batch norm."""
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 16, 16), torch.randint(10, (8,))
    ours, slow = build_model(config.model), build_model(config.model)
    slow.load_state_dict(ours.state_dict())
    optimizer = build_optimizer(ours, RECIPE)
    totals = Step(ours.train(), optimizer, 4, EAGER)(images, labels)
    losses = [F.cross_entropy(slow(images[i : i + 4]), labels[i : i + 4]) for i in (0, 4)]
    (sum(losses) / 2).backward()
    for mine, theirs in zip(ours.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    assert totals[0].item() == pytest.approx(4 * sum(loss.item() for loss in losses), rel=1e-5)


def test_a_run_records_what_happened(config, tmp_path):
    events = train(config, tmp_path)
    assert [e["iteration"] for e in of(events, "train")] == [4, 6]
    assert [e["num_images"] for e in of(events, "train")] == [64, 32]
    assert [e["iteration"] for e in of(events, "test")] == [3, 6]
    assert events[-1]["event"] == "finished"
    tests = Record(tmp_path).evaluations()
    assert tests["single_view"]["num_images"] == 30
    assert tests["single_view"]["num_errors"] == of(events, "test")[-1]["num_errors"]
    assert tests["single_view"]["weights"] == events[-1]["weights"]
    session = json.loads((tmp_path / "environment.json").read_text())[0]
    assert session["torch"] == version("torch")
    assert len(session["data"]) == 16
    before = (tmp_path / "record.jsonl").read_bytes()
    train(config, tmp_path)  # finished: nothing more happens
    assert (tmp_path / "record.jsonl").read_bytes() == before


def test_seeds_differ_and_a_seed_repeats_itself(config, tmp_path):
    hashes = [
        train(config, tmp_path / name, seed)[-1]["weights"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_run_is_what_a_slow_obvious_loop_makes_of_the_recipe(config, tmp_path):
    """One image at a time through torchvision's transforms, momentum and decay by hand."""
    recipe = {"iterations": 9, "lr_drops": [6], "warmup": WarmupConfig(lr=0.02, iterations=3)}
    config = changed(config, recipe=recipe)
    events = train(config, tmp_path)
    data = load_data(config.data)
    mean = (data.train.pixels.double() / 255).mean(dim=0).float()
    batches = BatchOrder(60, 16, num_views=50, seed=config.seed, device=torch.device("cpu"))
    torch.manual_seed(config.seed)
    model = build_model(config.model).train()
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    velocity = {p: torch.zeros_like(p) for p in model.parameters()}
    losses = []
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for iteration, lr in enumerate([0.02] * 3 + [0.1] * 3 + [0.01] * 3):
        before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
        after = []
        images, labels = [], []
        for index, view in zip(*batches[iteration], strict=True):
            top, left = divmod(int(view) % 25, 5)
            image = tv.pad(data.train.pixels[index].float() / 255 - mean, [2])
            image = tv.crop(image, top, left, 16, 16)
            images.append(tv.hflip(image) if view >= 25 else image)
            labels.append(data.train.labels[index])
        model.zero_grad()
        for half in (slice(0, 8), slice(8, 16)):  # bn_batch is 8
            loss = F.cross_entropy(model(torch.stack(images[half])), torch.stack(labels[half]))
            (loss / 2).backward()
            losses.append(loss.item())
            after.append([(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms])
            for norm, (mean_before, var_before) in zip(norms, before, strict=True):
                norm.running_mean.copy_(mean_before)
                norm.running_var.copy_(var_before)
        for i, norm in enumerate(
            norms
        ):  # from the same averages, the mean of where each group went
            norm.running_mean.copy_((after[0][i][0] + after[1][i][0]) / 2)
            norm.running_var.copy_((after[0][i][1] + after[1][i][1]) / 2)
        for p, v in velocity.items():
            v.mul_(0.9).add_(p.grad + (1e-4 * p.data if id(p) in decayed else 0))
            p.data -= lr * v
    state = torch.load(tmp_path / "last.pt")["model"]
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(state[name], tensor, atol=1e-5, rtol=1e-4)
    model.eval()
    with torch.no_grad():
        wrong = model(data.test.pixels.float() / 255 - mean).argmax(dim=1) != data.test.labels
    assert of(events, "test")[-1]["num_errors"] == int(wrong.sum())
    assert of(events, "train")[0]["loss"] == pytest.approx(sum(losses[:8]) / 8, rel=1e-4)


def test_a_loss_that_is_not_finite_is_a_result(config, tmp_path):
    events = train(changed(config, recipe={"lr": 1e30}), tmp_path)
    assert events[-1]["event"] == "diverged"
    assert "nan" in events[-1]["reason"] or "inf" in events[-1]["reason"]
    assert Record(tmp_path).state() == "finished"
    for line in (tmp_path / "record.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # strict readers know no NaN


def test_a_run_does_not_go_on_with_other_data(config, tmp_path):
    train(config, tmp_path)
    (tmp_path / "record.jsonl").unlink()
    path = tmp_path / "environment.json"
    (session,) = json.loads(path.read_text())
    path.write_text(json.dumps([{**session, "data": "0123456789abcdef"}]))
    with pytest.raises(UserError, match="started with different data"):
        train(config, tmp_path)


def test_tests_of_photographs_are_not_captured(settings, config, tmp_path, monkeypatch):
    """Their views have many shapes, and each graph takes as much memory as a test."""
    given = []

    def classifier(model, execution, stream=None):
        given.append(stream)
        return Classifier(model, execution)

    monkeypatch.setattr(tasks, "Classifier", classifier)
    monkeypatch.setattr(engine, "GraphedCallable", lambda function, stream: function)
    monkeypatch.setattr(engine, "capture_stream", lambda *_: nullcontext("of the run"))
    for name, each in (("photographs", settings), ("in memory", config)):
        train(changed(each, recipe={"iterations": 1}), tmp_path / name)
    assert given == [None, "of the run"]


def test_bf16_computes_the_network_in_bf16(config, tmp_path, monkeypatch):
    seen = set()

    def look(module, inputs, output):
        seen.add(output.dtype)

    real = tasks.build_model
    monkeypatch.setattr(
        tasks, "build_model", lambda c: (m := real(c), m.fc.register_forward_hook(look))[0]
    )
    train(changed(config, recipe={"precision": "bf16", "iterations": 2}), tmp_path)
    assert seen == {torch.bfloat16}
