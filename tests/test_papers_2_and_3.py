"""The networks of [He16] and [Xie17], trained; the layer responses of [He15] Fig. 7."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import SMALL, changed
from test_data import make_cifar100
from test_engine import PowerCutError, of
from test_paper import EXPERIMENTS, plan
from test_speed import EAGER
from torchvision.transforms.functional import to_pil_image

from resnet_repro.data import load_data, make_feed
from resnet_repro.engine import checkpoint
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.responses import layer_responses
from resnet_repro.engine.step import Step
from resnet_repro.engine.train import train
from resnet_repro.models import build_model
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.settings.model import LAYERS

SHALLOW = {"imagenet_resnet": 50}


def shallow(row):
    """Return the settings of a row's network with as few blocks and channels as it can have."""
    model = row.config.model
    depth = SHALLOW.get(model.name, 3 * LAYERS[model.block or "basic"] + 2)
    if model.name == "imagenet_resnet" and model.depth < 50:
        depth = 18
    return replace(model, depth=depth, width=16 if model.cardinality else 4)


def two_steps(model, recipe, images, bn_batch):
    torch.manual_seed(0)
    network = build_model(model).train()
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    step = Step(network, build_optimizer(network, recipe), bn_batch, EAGER)
    labels = torch.arange(len(images)) % model.num_classes
    for _ in range(2):
        assert step(images, labels).isfinite().all()
    return [
        name for name, weight in network.named_parameters() if torch.equal(weight, before[name])
    ]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_rows_network_trains(experiment):
    """At reduced depth and width: all its weights move in two iterations."""
    seen = set()
    for row in plan(experiment).rows:
        if row.config is None:
            continue
        model = shallow(row)
        if repr(model) in seen:
            continue
        seen.add(repr(model))
        size = 64 if model.name == "imagenet_resnet" else 16
        unmoved = two_steps(model, row.config.recipe, torch.randn(4, 3, size, size), 2)
        assert not unmoved, row.name


def test_1001_layers_train_at_full_depth():
    row = next(row for row in plan("preact_depth").rows if row.name == "ResNet-1001 pre-activation")
    assert row.config.model.depth == 1001
    assert not two_steps(row.config.model, row.config.recipe, torch.randn(4, 3, 32, 32), 2)


def test_a_run_with_dropout_stopped_anywhere_ends_with_the_same_weights(
    config, tmp_path, monkeypatch
):
    config = changed(config, model={"shortcut": "dropout"}, compute={"save_minutes": 0.0})
    run = Run("dropout", config)
    train(run, tmp_path / "whole")
    real = checkpoint.save

    def save(folder, state):
        real(folder, state)
        if state["progress"]["iteration"] == 3:
            raise PowerCutError

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(PowerCutError):
        train(run, tmp_path / "broken")
    monkeypatch.undo()
    torch.rand(7)  # what was drawn in between does not matter
    train(run, tmp_path / "broken")
    ends = [of(Record(tmp_path / name).events(), "finished")[0] for name in ("whole", "broken")]
    assert ends[0]["weights"] == ends[1]["weights"]


def test_responses_are_the_spread_of_each_3x3_layer_after_batch_norm(config):
    """Against the layers computed one after the other."""
    config = changed(config, model={"depth": 14, "shortcut": "B"})
    torch.manual_seed(0)
    model = build_model(config.model).eval()
    feed = make_feed(load_data(config.data), config, torch.device("cpu"))
    batches = [views[:, 0] for _, views in feed.test(config.evaluation)]
    with torch.no_grad(), layer_responses(model) as responses:
        for images in batches:
            model(images)
    x, expected = torch.cat(batches), []
    with torch.no_grad():
        x = model.stem.bn(model.stem.conv(x))
        expected.append(x.std(correction=0))
        x = x.relu()
        for block in model.blocks():
            f = block.residual
            y = f.bn1(f.conv1(x))
            z = f.bn2(f.conv2(y.relu()))
            expected += [y.std(correction=0), z.std(correction=0)]
            x = (z + block.shortcut(x)).relu()
    assert len(responses) == 13
    torch.testing.assert_close(torch.tensor([r.std() for r in responses]), torch.stack(expected))


ON_SYNTHETIC = (
    "data=synthetic",
    "data.generate.num_train=100",
    "data.generate.num_test=50",
    "recipe.iterations=2",
    "recipe.batch_size=16",
    "recipe.bn_batch=8",
    "recipe.lr_drops=[]",
    "compute.device=cpu",
)


def test_layer_responses_of_networks_that_another_table_trained(run_cli, tmp_path):
    """`cifar_responses` measures what is there, trains what is not, and renders without both."""
    settings = ON_SYNTHETIC
    assert run_cli("experiment=cifar_plain", "row=plain-20", *settings).code == 0
    outcome = run_cli("experiment=cifar_responses", "row=[plain-20,ResNet-20]", *settings)
    assert outcome.code == 0, outcome.err
    assert "2 runs, 1 to train, 1 more to test" in outcome.out
    pictures = list((tmp_path / "results").rglob("responses.png"))
    assert len(pictures) == 1
    records = json.loads((pictures[0].parent / "records.json").read_text())
    stds = [run["evaluations"]["responses"]["std"] for run in records["runs"]]
    assert [len(each) for each in stds] == [19, 19]
    assert min(map(min, stds)) > 0
    before = pictures[0].with_suffix(".svg").read_bytes()
    shutil.rmtree(tmp_path / "results/runs")
    assert run_cli("table", "experiment=cifar_responses", *settings).code == 0
    assert pictures[0].with_suffix(".svg").read_bytes() == before


def test_error_against_size_is_drawn(run_cli, tmp_path):
    settings = [*ON_SYNTHETIC, "seeds=[0]", "data.image_size=32", "recipe.batch_size=8"]
    rows = "row=[ResNeXt-29 1x64d,ResNeXt-29 2x64d]"
    outcome = run_cli("experiment=resnext_width", rows, *settings)
    assert outcome.code == 0, outcome.err
    assert "after 2 of 117188 iterations" in outcome.out
    picture = next((tmp_path / "results").rglob("size.svg")).read_text()
    assert "more groups of 64 channels" in picture
    assert "one group, wider" in picture


@pytest.mark.parametrize("source", ["official", "folder"])
def test_cifar_100_rows_train_on_both_layouts(run_cli, tmp_path, monkeypatch, source):
    """The official files, and the same images in class folders."""
    make_cifar100(tmp_path / "data", monkeypatch)
    words = ["experiment=preact_depth", "row=ResNet-164 pre-activation CIFAR-100", "seeds=[0]"]
    words += ["model.depth=11", "recipe.iterations=2", "recipe.batch_size=16", "recipe.bn_batch=8"]
    words += ["recipe.lr_drops=[]", "compute.device=cpu", "data.root=data"]
    if source == "folder":
        generator = torch.Generator().manual_seed(0)
        for part, number in (("train", 2), ("val", 1)):
            for label in range(100):
                folder = tmp_path / "data" / part / f"class{label:02}"
                folder.mkdir(parents=True)
                for image in range(number):
                    pixels = torch.randint(256, (3, 32, 32), generator=generator).byte()
                    to_pil_image(pixels).save(folder / f"{image}.png")
        words += ["data.name=folder"]
    outcome = run_cli(*words)
    assert outcome.code == 0, outcome.err
    assert "after 2 of 64000 iterations" in outcome.out
    assert "CIFAR-100, test images" in outcome.out


def test_a_fail_of_the_paper_is_printed_as_one(run_cli):
    words = [word for word in SMALL if not word.startswith(("experiment", "row"))]
    words = [word for word in words if not word.startswith("data.generate")]
    outcome = run_cli("table", "experiment=preact_shortcuts")
    line = next(line for line in outcome.out.splitlines() if "dropout shortcut" in line)
    assert "| fail |" in " ".join(line.split())
