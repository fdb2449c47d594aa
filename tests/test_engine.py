"""The training engine against slow obvious versions, and what it promises of a run."""

import json
import os
import signal
import sys
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import changed
from torch import nn
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import load_data, make_feed
from resnet_repro.data.images import DataSet, Images
from resnet_repro.data.inputs import Inputs
from resnet_repro.data.order import BatchOrder
from resnet_repro.distributed.group import ALONE
from resnet_repro.engine import checkpoint, energy, evaluate, schedule
from resnet_repro.engine import train as engine
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.optim import build_optimizer, learning_rate, set_learning_rate
from resnet_repro.engine.step import Step
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.plan import Run
from resnet_repro.records import LockedError, Record
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.recipe import PlateauConfig, RecipeConfig, WarmupConfig

RECIPE = RecipeConfig(iterations=64000, batch_size=128, lr=0.1, lr_drops=[32000, 48000])
CPU = torch.device("cpu")
EXACT = Execution(CPU, torch.autocast("cpu", enabled=False))


def train(config, folder, seed=0):
    engine.train(Run("ResNet-8", replace(config, seed=seed)), folder)
    return Record(folder).events()


class PowerCutError(Exception):
    pass


def timeless(events):
    """Return events without what a clock says."""
    return [
        {k: v for k, v in e.items() if k not in ("images_per_second", "seconds")} for e in events
    ]


def of(events, kind):
    return [event for event in events if event["event"] == kind]


@pytest.mark.parametrize(
    ("iteration", "lr"),
    [(0, 0.1), (31999, 0.1), (32000, 0.01), (47999, 0.01), (48000, 0.001), (63999, 0.001)],
)
def test_the_learning_rate_drops_where_the_paper_says(iteration, lr):
    assert learning_rate(iteration, RECIPE, None) == pytest.approx(lr)


def test_the_warmup_lasts_until_its_end_is_known():
    until_error = RecipeConfig(
        **{**vars(RECIPE), "warmup": WarmupConfig(lr=0.01, until_train_error=80)}
    )
    assert learning_rate(5000, until_error, None) == 0.01
    assert learning_rate(399, until_error, 400) == 0.01
    assert learning_rate(400, until_error, 400) == 0.1
    assert learning_rate(48000, until_error, 400) == pytest.approx(0.001)
    fixed = RecipeConfig(**{**vars(RECIPE), "warmup": WarmupConfig(lr=0.01, iterations=400)})
    assert [learning_rate(i, fixed, None) for i in (399, 400)] == [0.01, 0.1]


def test_the_learning_rate_drops_when_the_training_error_no_longer_falls():
    """Windows of 10 iterations of 100 images; two without a gain of a point make a plateau."""
    plateau = PlateauConfig(window=10, patience=2, min_gain=1.0, max_drops=2)
    recipe = RecipeConfig(iterations=1, batch_size=100, lr=0.1, plateau=plateau)
    windows = [90, 80, 79.5, 79.2, 70, 69.5, 69.4, 69.3, 69.2, 69.1]
    state, rates, events = schedule.Schedule(), [], []
    for number, error in enumerate(windows):
        for iteration in range(10 * number + 1, 10 * number + 11):
            event = state.observe(iteration, recipe, torch.tensor(error), ALONE)
            if event:
                events.append((iteration, *event))
        rates.append(round(state.learning_rate(10 * number + 10, recipe), 6))
    # 79.5 and 79.2 are no point below 80; 69.5 and 69.4 none below 70; then no more drops.
    assert rates == [0.1] * 3 + [0.01] * 3 + [0.001] * 4
    assert [(at, name, values["number"]) for at, name, values in events] == [
        (40, "plateau", 1),
        (70, "plateau", 2),
    ]
    assert events[0][2]["train_error"] == pytest.approx(79.2)


def test_sgd_is_caffes_while_the_learning_rate_is_constant():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    weight, velocity = model.weight.detach().clone(), torch.zeros(2, 3)
    optimizer = build_optimizer(model, RECIPE)
    for _ in range(4):
        x = torch.randn(5, 3)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        velocity = 0.9 * velocity + 0.1 * (model.weight.grad + 1e-4 * weight)
        weight = weight - velocity
        optimizer.step()
        torch.testing.assert_close(model.weight.detach(), weight)


def test_only_weights_decay_unless_all_do(config):
    model = build_model(config.model)
    decayed, free = build_optimizer(model, RECIPE).param_groups
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert {id(p) for p in decayed["params"]} == {id(w) for w in weights}
    assert (decayed["weight_decay"], free["weight_decay"]) == (1e-4, 0)
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
    everything = RecipeConfig(**{**vars(RECIPE), "decayed": "all"})
    assert len(build_optimizer(model, everything).param_groups) == 1


def test_groups_of_bn_batch_are_normalised_apart_and_their_gradients_add_up(config):
    """A mini-batch of two groups is what two GPUs would do: each its own batch norm."""
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 16, 16), torch.randint(10, (8,))
    ours, slow = build_model(config.model), build_model(config.model)
    slow.load_state_dict(ours.state_dict())
    optimizer = build_optimizer(ours, RECIPE)
    totals = Step(ours.train(), optimizer, 4, EXACT)(images, labels)
    losses = [F.cross_entropy(slow(images[i : i + 4]), labels[i : i + 4]) for i in (0, 4)]
    (sum(losses) / 2).backward()
    for mine, theirs in zip(ours.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    assert totals[0].item() == pytest.approx(4 * sum(loss.item() for loss in losses), rel=1e-5)


def test_every_image_is_counted_once(config):
    class Brightest(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    pixels = torch.randint(256, (103, 3, 4, 4), dtype=torch.uint8)
    labels = pixels.float().mean(dim=(2, 3)).argmax(dim=1)
    labels[[5, 50, 102]] = (labels[[5, 50, 102]] + 1) % 3
    images, inputs = Images(pixels, labels), Inputs(torch.zeros(3, 1, 1))
    data = DataSet(images, images, ("r", "g", "b"))
    feed = make_feed(data, config, torch.device("cpu"), inputs=inputs)
    classifier = evaluate.Classifier(Brightest(), EXACT)
    counts = evaluate.test(classifier, feed, EvaluationConfig(batch_size=20))
    assert counts == {"num_errors": 3, "num_images": 103}


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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_stopped_anywhere_ends_with_the_same_weights(
    config, tmp_path, monkeypatch, precision
):
    config = changed(
        config,
        recipe={
            "precision": precision,
            "iterations": 9,
            "lr_drops": [7],
            "warmup": WarmupConfig(lr=0.01, until_train_error=99),
        },
        compute={"save_minutes": 0.0},
    )
    monkeypatch.setattr(schedule, "WARMUP_WINDOW", 4)
    whole = train(config, tmp_path / "whole")

    real, calls = Step.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise PowerCutError
        return real(*args)

    monkeypatch.setattr(Step, "__call__", cut)
    for _ in range(9):
        try:
            broken = train(config, tmp_path / "broken")
        except PowerCutError:
            continue
        break
    assert len(calls) > 9
    assert timeless(broken) == timeless(whole)
    assert of(whole, "warmup_end")


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


def test_a_record_ahead_of_its_checkpoint_is_taken_back(config, tmp_path, monkeypatch):
    """A power cut long after the last checkpoint: what came after it is measured once, again."""
    config = changed(
        config, recipe={"iterations": 9}, compute={"save_minutes": 1e9, "log_every": 1}
    )
    whole = train(config, tmp_path / "whole")
    run, folder = Run("ResNet-8", config), tmp_path / "broken"
    real, calls = Step.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)  # saves after this iteration
        if len(calls) == 8:
            raise PowerCutError
        return real(*args)

    monkeypatch.setattr(Step, "__call__", cut)
    with pytest.raises(engine.StoppedRun, match=r"saved at iteration 4 of 9"):
        engine.train(run, folder)
    with pytest.raises(PowerCutError):
        engine.train(run, folder)
    record = folder / "record.jsonl"
    assert Record(folder).events()[-1]["iteration"] == 7
    record.write_bytes(record.read_bytes() + b'{"event": "tr')  # and a line half written
    engine.train(run, folder)
    assert timeless(Record(folder).events()) == timeless(whole)


def test_stopping_in_the_last_iteration_stops_before_the_next_run(config, tmp_path, monkeypatch):
    real = engine.test

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(engine, "test", interrupted)
    once = changed(config, evaluation={"every": 6})
    with pytest.raises(engine.StoppedRun, match="finished; stopped before the next run"):
        engine.train(Run("ResNet-8", once), tmp_path)
    assert Record(tmp_path).state() == "finished"


def test_a_torn_line_does_not_damage_the_record(tmp_path):
    record = Record(tmp_path)
    record.append("test", 3, protocol="single_view", num_errors=1, num_images=2)
    path = tmp_path / "record.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event": "te')
    record.append("error", 3, reason="out of memory")
    assert [event["event"] for event in record.events()] == ["test", "error"]


def test_what_was_measured_after_the_last_checkpoint_is_still_to_do(tmp_path):
    record, counts = Record(tmp_path), {"num_errors": 1, "num_images": 2}
    record.append("train", 150, **counts, loss=1.0, lr=0.1, images_per_second=1.0)
    assert record.iteration() == 0
    record.note_saved(81)
    assert record.iteration() == 81
    with record.locked():
        assert record.iteration() == 150
    record.append("finished", 300, seconds=1.0, weights="ab")
    assert record.iteration() == 300


def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(tmp_path, monkeypatch):
    for iteration in (1, 2):
        state = {"run": "a-seed0-01234567", "iteration": iteration, "weights": torch.randn(1000)}
        checkpoint.save(tmp_path, state)
    messages = []
    monkeypatch.setattr(
        checkpoint.logger, "warning", lambda *words: messages.append(words[0] % words[1:])
    )

    def restore():
        return checkpoint.restore(tmp_path, "a-seed0-01234567", lambda state: None)

    path = tmp_path / checkpoint.LAST
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, in the weights
    for damage in (content, content[: len(content) // 3], b"", bytes(len(content))):
        path.write_bytes(damage)
        assert restore()["iteration"] == 1
        assert "last.pt is damaged" in messages.pop()
    (tmp_path / checkpoint.PREVIOUS).write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be used"):
        restore()


def test_a_run_that_diverged_and_was_killed_diverges_again_at_the_same_place(
    config, tmp_path, monkeypatch
):
    config = changed(config, recipe={"lr": 1e30})
    whole = train(config, tmp_path / "whole")

    def cut(model):
        raise PowerCutError

    with monkeypatch.context() as context, pytest.raises(PowerCutError):
        context.setattr(checkpoint, "weights_hash", cut)  # after the last save, before the record
        train(config, tmp_path / "broken")
    assert timeless(train(config, tmp_path / "broken")) == timeless(whole)


def test_a_resumed_run_keeps_its_number_of_threads(config, tmp_path):
    before = torch.get_num_threads()
    try:
        train(changed(config, compute={"threads": 1}), tmp_path)
        (tmp_path / "record.jsonl").unlink()
        torch.set_num_threads(2)
        train(config, tmp_path)
        assert [s["threads"] for s in Record(tmp_path).environment()] == [1, 1]
    finally:
        torch.set_num_threads(before)


def test_a_loss_that_is_not_finite_is_a_result(config, tmp_path):
    events = train(changed(config, recipe={"lr": 1e30}), tmp_path)
    assert events[-1]["event"] == "diverged"
    assert "nan" in events[-1]["reason"] or "inf" in events[-1]["reason"]
    assert Record(tmp_path).state() == "finished"
    for line in (tmp_path / "record.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # strict readers know no NaN


def test_two_processes_do_not_train_one_run(config, tmp_path):
    with Record(tmp_path).locked(), pytest.raises(LockedError):
        train(config, tmp_path)
    assert not Record(tmp_path).is_running()


def test_a_run_does_not_go_on_with_other_data(config, tmp_path):
    train(config, tmp_path)
    (tmp_path / "record.jsonl").unlink()
    path = tmp_path / "environment.json"
    (session,) = json.loads(path.read_text())
    path.write_text(json.dumps([{**session, "data": "0123456789abcdef"}]))
    with pytest.raises(UserError, match="begun on other data"):
        train(config, tmp_path)


def test_bf16_computes_the_network_in_bf16(config, tmp_path, monkeypatch):
    seen = set()

    def look(module, inputs, output):
        seen.add(output.dtype)

    real = engine.build_model
    monkeypatch.setattr(
        engine, "build_model", lambda c: (m := real(c), m.fc.register_forward_hook(look))[0]
    )
    train(changed(config, recipe={"precision": "bf16", "iterations": 2}), tmp_path)
    assert seen == {torch.bfloat16}


def test_what_the_device_lacks_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="tf32 needs a CUDA GPU"):
        train(changed(config, recipe={"precision": "tf32"}), tmp_path)
    with pytest.raises(UserError, match=r"compute\.device=cuda:9"):
        train(changed(config, compute={"device": "cuda:9"}), tmp_path)


def test_set_learning_rate_reaches_every_group(config):
    optimizer = build_optimizer(build_model(config.model), RECIPE)
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}


def test_energy_is_the_gpus_counter_and_each_run_pays_its_part(monkeypatch):
    assert energy.Meter(CPU, 1, lambda: 0.0, 0.0).joules() is None
    counter = iter([5_000.0, 9_000.0])  # millijoules
    driver = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetTotalEnergyConsumption=lambda name: next(counter) if name == "GPU-x" else 0,
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="x")
    )
    seconds = iter([100.0, 110.0])
    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    charged = iter([0.0, 5.0])  # of the ten seconds that pass: two runs share the GPU
    meter = energy.Meter(torch.device("cuda"), 1, lambda: next(charged), 30.0)
    assert meter.joules() == 30.0 + 2.0
