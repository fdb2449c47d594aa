"""Networks against the papers' counts, torchvision's models and hand-made examples."""

import json
import re
from dataclasses import replace

import pytest
import torch
import torchvision
from conftest import REFERENCE
from torch import nn

from resnet_repro.config import DataConfig, ModelConfig, RunConfig
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.blocks import PlainBlock, ResidualBlock, basic_branch, build_block
from resnet_repro.models.complexity import measure
from resnet_repro.models.published import describe_torchvision, from_torchvision
from resnet_repro.models.resnet import he_init
from resnet_repro.models.shortcuts import build_shortcut

COUNTS = json.loads((REFERENCE / "param_counts.json").read_text())
NAMES = re.compile(r"(CIFAR )?(?:ResNet|plain)-(\d+)(?: ([ABC]))?(?: \(stride in (\dx\d),.*\))?")
IN_PAPER_1 = {name: match for name in COUNTS if (match := NAMES.fullmatch(name))}


def network(cifar: bool, depth: int, shortcut: str, stride_in: str = "1x1") -> ModelConfig:
    return ModelConfig(
        name="cifar_resnet" if cifar else "imagenet_resnet",
        depth=depth,
        shortcut=shortcut,
        width=16 if cifar else 64,
        stride_in=stride_in,
        num_classes=10 if cifar else 1000,
    )


@pytest.mark.parametrize("name", IN_PAPER_1)
def test_layers_parameters_and_multiply_adds_are_the_papers(name, config):
    cifar, depth, shortcut, stride_in = IN_PAPER_1[name].groups()
    model = network(bool(cifar), int(depth), shortcut or "none", stride_in or "1x1")
    data = DataConfig(
        name="x", title="x", image_size=32 if cifar else 224, num_classes=model.num_classes
    )
    size = measure(RunConfig(**{**vars(config), "model": model, "data": data}))
    assert size.layers == int(depth)
    assert size.params == COUNTS[name]["params"]
    assert size.params_without_bn == COUNTS[name]["params_without_bn"]
    assert size.multiply_adds == COUNTS[name]["macs"]


def test_the_reference_covers_every_network_of_paper_1():
    assert len(IN_PAPER_1) == 28


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
    y = build_shortcut("A", 2, 5, stride=2)(x)
    assert y.shape == (1, 5, 2, 2)
    assert y[0, :2].tolist() == [[[0, 2], [8, 10]], [[16, 18], [24, 26]]]
    assert not y[0, 2:].any()


@pytest.mark.parametrize(
    ("option", "grows", "kind"),
    [
        ("A", False, nn.Identity),
        ("B", False, nn.Identity),
        ("C", False, nn.Sequential),
        ("B", True, nn.Sequential),
        ("C", True, nn.Sequential),
    ],
)
def test_where_each_option_projects(option, grows, kind):
    shortcut = build_shortcut(option, 4, 8 if grows else 4, stride=2 if grows else 1)
    assert isinstance(shortcut, kind)


def test_a_block_is_relu_of_branch_plus_shortcut():
    torch.manual_seed(0)
    branch = basic_branch(3, 3, stride=1).eval()
    x = torch.randn(2, 3, 5, 5)
    conv1, bn1, _, conv2, bn2 = branch
    expected = bn2(conv2(bn1(conv1(x)).relu()))
    torch.testing.assert_close(PlainBlock(branch)(x), expected.relu())
    torch.testing.assert_close(ResidualBlock(branch, nn.Identity())(x), (expected + x).relu())


def test_stride_sits_where_stride_in_says():
    shared = dict(bottleneck=True, in_channels=8, width=4, stride=2, shortcut="B")
    for stride_in, strides in {"1x1": (2, 1, 1), "3x3": (1, 2, 1)}.items():
        branch = build_block(**shared, stride_in=stride_in).residual
        assert tuple(branch[i].stride[0] for i in (0, 3, 6)) == strides


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
        build_model(replace(network(True, 20, "A"), name="vgg"))
