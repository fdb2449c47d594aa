"""VGG-16 is torchvision's, layer by layer; it has dropout and no blocks."""

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from resnet_repro.engine.execution import draws_numbers
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.models.complexity import measure, training_bytes
from resnet_repro.models.published import describe_torchvision, from_torchvision
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.model import ModelConfig
from tests.support.runs import changed

VGG = {"name": "vgg16", "depth": 16, "shortcut": "none"}


def test_torchvisions_weights_give_torchvisions_logits():
    torch.manual_seed(0)
    with torch.device("meta"):
        theirs = torchvision.models.vgg16().eval()
    theirs.to_empty(device="cpu")
    for module in theirs.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = (6 / module.weight[0].numel()) ** 0.5  # as deep as He's: maps do not vanish
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    state = theirs.state_dict()
    with torch.device("meta"):
        ours = build_model(describe_torchvision(state)).eval()
    ours.load_state_dict(from_torchvision(state), assign=True)
    images = torch.randn(1, 3, 75, 64)  # of odd sizes, too: poolings round down
    with torch.no_grad():
        expected, logits = theirs(images), ours(images)
    assert expected.std() > 0.1
    assert torch.equal(logits, expected)


def test_it_is_counted(config):
    """[Sim15] Table 2 has 138 M parameters; torchvision documents 138357544 and 15.47 G."""
    model = ModelConfig(**VGG, width=64, num_classes=1000)
    data = DataConfig(name="x", title="x", image_size=224, num_classes=1000)
    config = replace(config, model=model, data=data)
    meta = torchvision.models.VGG16_Weights.IMAGENET1K_V1.meta
    found = measure(config)
    assert found.layers == 16
    assert found.params == found.params_without_bn == meta["num_params"]
    assert round(found.multiply_adds / 1e9, 2) == meta["_ops"]
    assert training_bytes(config) > 3 * 4 * found.params


def test_it_trains_with_dropout(config):
    torch.manual_seed(0)
    model = ModelConfig(**VGG, width=2, num_classes=10)
    assert draws_numbers(model)
    network, images = build_model(model), torch.randn(2, 3, 32, 32)
    assert not any(bias.any() for name, bias in network.named_parameters() if "bias" in name)
    assert not torch.equal(network(images), network(images))
    network(images).square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())
    with pytest.raises(UserError, match="vgg16 has no blocks to recompute"):
        changed(
            replace(changed(config, data={"image_size": 32}), model=model), compute={"recompute": 1}
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 19}, "model.depth=19: vgg16 has 16 layers"),
        ({"shortcut": "B"}, "model.name=vgg16 has no blocks: set"),
        ({"cardinality": "32x4d"}, "only bottleneck networks"),
    ],
)
def test_settings_of_other_networks_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ModelConfig(**{**VGG, "width": 64, "num_classes": 10, **settings})
