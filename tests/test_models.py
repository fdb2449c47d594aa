"""Networks against the papers' counts, torchvision's models and hand-made examples."""

import json
import re
from dataclasses import replace

import pytest
import torch
import torchvision
from conftest import REFERENCE
from torch import nn

from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.blocks import build_block
from resnet_repro.models.complexity import measure
from resnet_repro.models.published import describe_torchvision, from_torchvision
from resnet_repro.models.resnet import he_init
from resnet_repro.models.shortcuts import Gate, identity
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import RunConfig

COUNTS = json.loads((REFERENCE / "param_counts.json").read_text())
# The names of the reference, a network each.
PAPER_1 = re.compile(
    r"(?P<cifar>CIFAR )?(?:ResNet|plain)-(?P<depth>\d+)(?: (?P<shortcut>[ABC]))?"
    r"(?: \(stride in (?P<stride_in>\dx\d),.*\))?"
)
PAPER_2 = re.compile(
    r"ResNet-(?P<depth>\d+)(?P<single> 1-layer)?(?: (?P<order>original|bn_after|relu_before|"
    r"relu_pre|full_pre|pre-act))?(?: (?P<stride_in>\dx\d) stride @(?P<size>\d+))?"
    r"(?: C(?P<classes>100?))?"
    r"(?: \((?:stride in (?P<stride>3x3)|proj BN)\))?"
)
PAPER_3 = re.compile(
    r"ResNe(?:\(X\)|X)t-(?P<depth>\d+) (?P<cardinality>\d+x\d+d)(?P<plain> w/o residual)?"
    r"(?: C(?P<classes>100?))?(?: @(?P<size>\d+))?"
)
SHORTCUTS = {
    "const scaling / dropout": [
        {"shortcut": "constant", "scales": [0.5, 0.5]},
        {"shortcut": "dropout"},
    ],
    "exclusive or shortcut-only gating (gate on x)": [
        {"shortcut": "exclusive_gate", "gate_bias": -6},
        {"shortcut": "shortcut_gate", "gate_bias": 0},
    ],
    "1x1 conv shortcut (BN after conv)": [{"shortcut": "C"}],
}
# Projections without batch norm in other orders than full pre-activation; 5000 classes.
NOT_OURS = re.compile(r".*\((?:proj )?no BN\)|ResNet-50 5K-way")


def networks(name):
    """Return the networks that a name of the reference stands for, and their image size."""
    for shortcut, settings in SHORTCUTS.items():
        if name == f"ResNet-110 {shortcut}":
            return [network(True, 110, **each) for each in settings], 32
    if match := PAPER_1.fullmatch(name):
        said = match.groupdict()
        shortcut, cifar = said["shortcut"] or "none", bool(said["cifar"])
        stride_in = said["stride_in"] or "1x1"
        made = network(cifar, int(said["depth"]), shortcut=shortcut, stride_in=stride_in)
        return [made], 32 if cifar else 224
    if match := PAPER_3.fullmatch(name):
        said = match.groupdict()
        cifar = said["depth"] == "29"
        more = {"block": "bottleneck", "num_classes": int(said["classes"])} if cifar else {}
        made = network(
            cifar,
            int(said["depth"]),
            shortcut="none" if said["plain"] else "B",
            stride_in="3x3",
            cardinality=said["cardinality"],
            **{"width": 64, **more},
        )
        return [made], 32 if cifar else int(said["size"] or 224)
    said = PAPER_2.fullmatch(name).groupdict()
    depth, order = int(said["depth"]), (said["order"] or "original").replace("pre-act", "full_pre")
    if said["size"]:
        made = network(False, depth, shortcut="B", stride_in=said["stride_in"], activation=order)
        return [made], int(said["size"])
    bottleneck = depth in (164, 1001)
    block = "bottleneck" if bottleneck else "single" if said["single"] else "basic"
    made = network(
        True,
        depth,
        block=block,
        shortcut="B" if bottleneck else "A",
        stride_in=said["stride"] or "1x1",
        activation=order,
        num_classes=int(said["classes"] or 10),
    )
    return [made], 32


def network(cifar: bool, depth: int, **settings) -> ModelConfig:
    shipped = {"width": 16, "num_classes": 10} if cifar else {"width": 64, "num_classes": 1000}
    name = "cifar_resnet" if cifar else "imagenet_resnet"
    return ModelConfig(**{**shipped, "name": name, "depth": depth, "shortcut": "A", **settings})


@pytest.mark.parametrize("name", [name for name in COUNTS if not NOT_OURS.fullmatch(name)])
def test_layers_parameters_and_multiply_adds_are_the_papers(name, config):
    made, size = networks(name)
    for model in made:
        data = DataConfig(name="x", title="x", image_size=size, num_classes=model.num_classes)
        found = measure(RunConfig(**{**vars(config), "model": model, "data": data}))
        assert found.layers == model.depth
        assert found.params == COUNTS[name]["params"]
        assert found.params_without_bn == COUNTS[name]["params_without_bn"]
        assert found.multiply_adds == COUNTS[name]["macs"]


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"]
)
def test_torchvisions_weights_give_torchvisions_logits(name):
    """Option B; bottlenecks with the stride in the 3x3."""
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)().eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # averages and weights that a mix-up would show
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
            nn.init.uniform_(module.weight, 0.4, 0.6)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    state = theirs.state_dict()
    config = describe_torchvision(state)
    assert config.cardinality == ("32x4d" if "next" in name else None)
    assert config.depth == int(re.search(r"\d+", name)[0])
    ours = build_model(config).eval()
    ours.load_state_dict(from_torchvision(state))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected, logits = theirs(images), ours(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize(
    ("name", "cardinality"), [("resnext101_32x8d", "32x8d"), ("resnext101_64x4d", "64x4d")]
)
def test_a_resnexts_cardinality_is_read_off_its_weights(name, cardinality):
    with torch.device("meta"):
        config = describe_torchvision(getattr(torchvision.models, name)().state_dict())
    assert (config.depth, config.cardinality) == (101, cardinality)


def test_weights_of_other_networks_are_refused():
    with torch.device("meta"):
        state = torchvision.models.vgg11().state_dict()
    with pytest.raises(UserError, match="not the weights of a torchvision ResNet"):
        describe_torchvision(state)


def test_option_a_subsamples_and_appends_zero_channels():
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    y = identity(2, 5, stride=2)(x)
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


def block_of(*, block="basic", in_channels=3, width=3, stride=1, is_first=False, **settings):
    """Build a block in test mode whose batch norms and weights are drawn at random."""
    torch.manual_seed(0)
    config = network(True, 110 if block != "bottleneck" else 164, block=block, **settings)
    made = build_block(config, block, in_channels, width, stride, is_first=is_first)
    made.apply(he_init)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 2.0)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor)
    return made.eval()


def test_a_block_is_relu_of_branch_plus_shortcut():
    for shortcut in ("none", "A"):
        block, x = block_of(shortcut=shortcut), torch.randn(2, 3, 5, 5)
        conv1, bn1, _, conv2, bn2 = block.residual
        expected = bn2(conv2(bn1(conv1(x)).relu()))
        expected = (expected + x).relu() if shortcut == "A" else expected.relu()
        torch.testing.assert_close(block(x), expected)


def relu(x):
    return x.clamp(min=0)


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
    kinds = [[m for m in used if isinstance(m, kind)] for kind in (nn.Conv2d, nn.BatchNorm2d)]
    return [module for kind in kinds for module in kind]


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


def test_a_pre_activation_network_is_activated_before_its_first_block_and_after_its_last():
    torch.manual_seed(0)
    model = build_model(network(True, 8, activation="full_pre", width=4)).eval()
    x = torch.randn(2, 3, 8, 8)
    y = relu(model.stem.bn(model.stem.conv(x)))
    for block in model.blocks():
        y = block(y)
    y = relu(model.last.bn(y)).mean(dim=(2, 3))
    torch.testing.assert_close(model(x), model.fc(y))


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shortcut": "constant"}, "model.scales: two factors"),
        ({"scales": [0.5, 0.5]}, "model.scales: two factors"),
        ({"shortcut": "exclusive_gate"}, "model.gate_bias: with"),
        ({"shortcut": "none", "activation": "full_pre"}, "have shortcuts A, B or C"),
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
