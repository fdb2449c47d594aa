"""Residual blocks are what the papers' figures show."""

import pytest
import torch
from torch import nn

from resnet_repro.models import build_model
from tests.support.networks import block_of, network, relu


def test_a_block_is_relu_of_branch_plus_shortcut():
    for shortcut in ("none", "A"):
        block, x = block_of(shortcut=shortcut), torch.randn(2, 3, 5, 5)
        conv1, bn1, conv2, bn2 = block.residual
        expected = alone(bn2)(conv2(alone(bn1)(conv1(x)).relu()))
        expected = (expected + x).relu() if shortcut == "A" else expected.relu()
        torch.testing.assert_close(block(x), expected)


# [He16] Fig. 4 as formulas: c1, c2 are convolutions, b1, b2 batch norms in the order of their use.
ORDERS = {
    "original": lambda x, c1, c2, b1, b2: relu(b2(c2(relu(b1(c1(x))))) + x),
    "bn_after": lambda x, c1, c2, b1, b2: relu(b2(c2(relu(b1(c1(x)))) + x)),
    "relu_before": lambda x, c1, c2, b1, b2: relu(b2(c2(relu(b1(c1(x)))))) + x,
    "relu_pre": lambda x, c1, c2, b1, b2: b2(c2(relu(b1(c1(relu(x)))))) + x,
    "full_pre": lambda x, c1, c2, b1, b2: c2(relu(b2(c1(relu(b1(x)))))) + x,
}


def parts(block):
    """Return a block's convolutions and batch norms, each kind in the order of its use."""
    used = []
    for module in block.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda module, *_: used.append(module))
    block(torch.randn(2, 3, 5, 5))
    for module in used:
        module._forward_hooks.clear()
    convs = [module for module in used if isinstance(module, nn.Conv2d)]
    return [*convs, *(alone(module) for module in used if isinstance(module, nn.BatchNorm2d))]


def alone(norm):
    """Return torch's batch norm with the state of one of ours, without its addition and ReLU."""
    made = nn.BatchNorm2d(norm.num_features)
    made.load_state_dict(norm.state_dict())
    return made.train(norm.training)


@pytest.mark.parametrize("order", ORDERS)
def test_each_order_of_activation_is_its_figures(order):
    block, x = block_of(activation=order), torch.randn(2, 3, 5, 5)
    before = x.clone()
    torch.testing.assert_close(block(x), ORDERS[order](x, *parts(block)))
    assert torch.equal(x, before), "a block must leave its input as it is"


def test_units_of_one_layer_are_figures_4_a_and_e_with_one():
    x = torch.randn(2, 3, 5, 5)
    block = block_of(block="single")
    conv, bn = parts(block)
    torch.testing.assert_close(block(x), relu(bn(conv(x)) + x))
    block = block_of(block="single", activation="full_pre")
    conv, bn = parts(block)
    torch.testing.assert_close(block(x), conv(relu(bn(x))) + x)


def test_a_pre_activation_block_that_projects_shares_its_activation():
    """resnet-pre-act.lua: BN-ReLU, then branch and projection, which has no batch norm."""
    block = block_of(
        block="bottleneck", width=4, shortcut="B", activation="full_pre", in_channels=3, stride=2
    )
    x = torch.randn(2, 3, 6, 6)
    a = relu(block.before.bn(x))
    torch.testing.assert_close(block(x), block.residual(a) + block.shortcut(a))
    assert isinstance(block.shortcut, nn.Conv2d)
    first = block_of(activation="full_pre", is_first=True)
    torch.testing.assert_close(first(x), first.residual(x) + x)


def test_stride_sits_where_stride_in_says():
    for stride_in, strides in {"1x1": (2, 1, 1), "3x3": (1, 2, 1)}.items():
        block = block_of(
            block="bottleneck", in_channels=8, width=4, stride=2, shortcut="B", stride_in=stride_in
        )
        convs = [m for m in block.residual.modules() if isinstance(m, nn.Conv2d)]
        assert tuple(conv.stride[0] for conv in convs) == strides


@pytest.mark.parametrize("segment", [1, 2, 4])
def test_blocks_computed_again_give_the_same_gradients_and_averages(segment):
    """Dropout draws the same again, and batch norm's averages move once."""
    config = network(True, 14, width=4, shortcut="dropout")
    x, results = torch.randn(8, 3, 16, 16), []
    for each in (None, segment):
        torch.manual_seed(0)
        model = build_model(config).train()
        model.segment = each
        model(x).square().sum().backward()
        results.append(([p.grad for p in model.parameters()], model.state_dict()))
    torch.testing.assert_close(results[1], results[0])


def test_batch_norm_is_torchs(config):
    ours = build_model(config.model).stem.bn
    theirs = nn.BatchNorm2d(4)
    x = torch.randn(8, 4, 3, 3)
    torch.testing.assert_close(ours(x), relu(theirs(x)))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
