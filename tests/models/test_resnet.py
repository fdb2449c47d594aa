"""Whole networks: how they begin, end, are initialised, and that they train."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.step import Step
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.resnet import he_init
from resnet_repro.settings.model import LAYERS
from tests.support.networks import network, relu
from tests.support.papers import EXPERIMENTS, plan
from tests.support.training import EAGER


def test_a_pre_activation_network_is_activated_before_its_first_block_and_after_its_last():
    torch.manual_seed(0)
    model = build_model(network(True, 8, activation="full_pre", width=4)).eval()
    x = torch.randn(2, 3, 8, 8)
    y = relu(model.stem.bn(model.stem.conv(x)))
    for block in model.blocks():
        y = block(y)
    y = relu(model.last.bn(y)).mean(dim=(2, 3))
    torch.testing.assert_close(model(x), model.fc(y))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shortcut": "constant"}, "model.scales: needed with"),
        ({"scales": [0.5, 0.5]}, "model.scales: needed with"),
        ({"shortcut": "exclusive_gate"}, "model.gate_bias: needed with"),
        ({"shortcut": "none", "activation": "full_pre"}, "need shortcut A, B or C"),
        ({"block": "bottleneck", "depth": 110}, "is not 9n.2; the nearest are 110 and 119"),
        ({"block": "wide"}, "single, basic, bottleneck"),
        ({"activation": "pre"}, "original, bn_after"),
    ],
)
def test_networks_that_do_not_go_together_are_refused(settings, message):
    if settings.get("depth") == 110:
        settings, message = {**settings, "depth": 112}, "nearest are 110 and 119"
    with pytest.raises(UserError, match=message):
        network(True, **{"depth": 20, **settings})


def test_he_init_draws_what_its_table_says():
    torch.manual_seed(0)
    conv, fc = nn.Conv2d(8, 64, 3), nn.Linear(400, 300)
    he_init(conv)
    he_init(fc)
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    assert fc.weight.std().item() == pytest.approx(400**-0.5, rel=0.03)
    assert not fc.bias.any()


def test_an_unknown_network_is_refused():
    with pytest.raises(UserError, match=r"model.name=vgg.*cifar_resnet"):
        build_model(replace(network(True, 20), name="vgg"))


SHALLOW = {"imagenet_resnet": 50, "vgg16": 16}


def shallow(row):
    """Return the settings of a row's network with as few blocks and channels as it can have."""
    model = row.config.model
    depth = SHALLOW.get(model.name, 3 * LAYERS[model.block or "basic"] + 2)
    if model.name == "imagenet_resnet" and model.depth < 50:
        depth = 18
    return replace(model, depth=depth, width=16 if model.cardinality else 4)


def two_steps(model, recipe, images, bn_batch):
    """Train for two iterations; return the weights that did not move by their gradients."""
    recipe = replace(recipe, weight_decay=0.0)
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


def test_every_rows_network_trains():
    """At reduced depth and width: all its weights move in two iterations."""
    rows = [row for experiment in EXPERIMENTS for row in plan(experiment).rows if row.config]
    # Detectors have tests of their own: `detection/test_network.py`.
    networks = {
        repr(replace(model, gate_bias=model.gate_bias and 0.0)): (model, row.config.recipe)
        for row in rows  # of gates that differ in where they begin, the last
        for model in [replace(shallow(row), num_classes=10)]
        if not row.config.detector.is_used
    }
    for model, recipe in networks.values():
        size = 32 if model.name in SHALLOW else 8
        unmoved = two_steps(model, recipe, torch.randn(4, 3, size, size), 2)
        assert not unmoved, model


@pytest.mark.slow
def test_1001_layers_train_at_full_depth():
    row = next(row for row in plan("preact_depth").rows if row.name == "ResNet-1001 pre-activation")
    assert row.config.model.depth == 1001
    assert not two_steps(row.config.model, row.config.recipe, torch.randn(4, 3, 32, 32), 2)
