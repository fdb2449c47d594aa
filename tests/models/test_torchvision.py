"""torchvision's weights in our networks."""

import re

import pytest
import torch
import torchvision
from torch import nn

from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.published import describe_torchvision, from_torchvision


@pytest.mark.parametrize("name", ["resnet34", "resnet101", "resnet152"])
def test_deeper_networks_of_torchvision_have_our_names_and_shapes(name):
    with torch.device("meta"):
        state = getattr(torchvision.models, name)().state_dict()
        config = describe_torchvision(state)
        ours = build_model(config).state_dict()
    assert config.depth == int(re.search(r"\d+", name)[0])
    theirs = from_torchvision(state)
    assert {key: each.shape for key, each in theirs.items()} == {
        key: each.shape for key, each in ours.items()
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
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
