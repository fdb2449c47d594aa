"""Shortcuts: where they project, and what each computes."""

import pytest
import torch
from torch import nn

from resnet_repro.models.shortcuts import Gate, option_a
from tests.support.networks import block_of


def test_option_a_subsamples_and_appends_zero_channels():
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    y = option_a(2, 5, stride=2)(x)
    assert y.shape == (1, 5, 2, 2)
    assert y[0, :2].tolist() == [[[0, 2], [8, 10]], [[16, 18], [24, 26]]]
    assert not y[0, 2:].any()


@pytest.mark.parametrize(
    ("option", "grows", "projects"),
    [("A", True, 0), ("B", False, 0), ("C", False, 1), ("B", True, 1), ("C", True, 1)],
)
def test_where_each_option_projects(option, grows, projects):
    block = block_of(shortcut=option, in_channels=4, width=8 if grows else 4, stride=1 + grows)
    assert sum(isinstance(m, nn.Conv2d) for m in block.shortcut.modules()) == projects


# One input and branch value by hand: x = 2, F = 10, gates g = sigmoid(x + b).
BY_HAND = [
    ({"shortcut": "A"}, 10 + 2),
    ({"shortcut": "constant", "scales": [0.5, 1.0]}, 10 + 0.5 * 2),
    ({"shortcut": "constant", "scales": [0.5, 0.5]}, 0.5 * 10 + 0.5 * 2),
    ({"shortcut": "constant", "scales": [0.0, 1.0]}, 10),
    ({"shortcut": "exclusive_gate", "gate_bias": -3}, 0.268941421 * 10 + 0.731058579 * 2),
    ({"shortcut": "shortcut_gate", "gate_bias": -3}, 10 + 0.731058579 * 2),
    ({"shortcut": "C"}, 10 + 3 * 2),
    ({"shortcut": "dropout"}, 10 + 2),
]


@pytest.mark.parametrize(("settings", "expected"), BY_HAND)
def test_each_shortcut_by_hand(settings, expected):
    block = block_of(in_channels=1, width=1, **settings)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.reset_parameters()
            module.eps = 1e-12  # torch 2.11 refuses 0
    branch = (
        block.residual if "conv1" in dict(block.residual.named_children()) else block.residual[0]
    )
    nn.init.zeros_(branch.conv2.weight)
    nn.init.constant_(branch.bn2.bias, 10.0)  # F = 10 whatever comes in
    if "gate_bias" in settings:
        gate = next(module for module in block.modules() if isinstance(module, Gate))
        nn.init.ones_(gate.conv.weight)
    if settings["shortcut"] == "C":
        nn.init.constant_(block.shortcut.conv.weight, 3.0)
    x = torch.full((1, 1, 2, 2), 2.0)
    torch.testing.assert_close(block(x), torch.full((1, 1, 2, 2), float(expected)))


def test_the_dropout_shortcut_drops_half_in_training():
    block = block_of(shortcut="dropout", in_channels=1, width=1)
    nn.init.zeros_(block.residual.conv2.weight)
    nn.init.zeros_(block.residual.bn2.weight)
    nn.init.zeros_(block.residual.bn2.bias)
    y = block.train()(torch.ones(64, 1, 16, 16))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert (y == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_gates_begin_with_their_bias_and_follow_the_stride():
    gate = block_of(shortcut="exclusive_gate", gate_bias=-6, in_channels=4, width=8, stride=2).gate
    assert gate.conv.bias.tolist() == [-6.0] * 8
    assert gate.conv.stride == (2, 2)
