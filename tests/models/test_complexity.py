"""Layers, parameters, multiply-adds and memory of networks."""

import json
import re

import pytest
import torch

from resnet_repro.models import build_model
from resnet_repro.models.complexity import measure, training_bytes
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.run import RunConfig
from tests.support.networks import network
from tests.support.paths import REFERENCE
from tests.support.runs import changed

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


# Of networks this deep one of each order of activation is counted in every session.
DEEP = re.compile(r".*-1202.*|ResNet-1001 .*")
QUICK = ("ResNet-1001 original C10", "ResNet-1001 full_pre C10")
SLOW = [name for name in COUNTS if DEEP.fullmatch(name) and name not in QUICK]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in COUNTS
        if not NOT_OURS.fullmatch(name)
    ],
)
def test_layers_parameters_and_multiply_adds_are_the_papers(name, config):
    made, size = networks(name)
    for model in made:
        data = DataConfig(name="x", title="x", image_size=size, num_classes=model.num_classes)
        found = measure(RunConfig(**{**vars(config), "model": model, "data": data}))
        assert found.layers == model.depth
        assert found.params == COUNTS[name]["params"]
        assert found.params_without_bn == COUNTS[name]["params_without_bn"]
        assert found.multiply_adds == COUNTS[name]["macs"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_memory_of_training_is_counted_without_computing(config, precision):
    """As the tensors that autograd really keeps; blocks computed again keep less."""
    config = changed(config, recipe={"precision": precision})
    weights = sum(t.nbytes for t in build_model(config.model).state_dict().values())
    kept = {}
    model = build_model(config.model).train()
    own = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with autocast, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(torch.randn(8, 3, 16, 16))
    activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert logits.shape == (8, 10)
    # In bf16 batch norm keeps a few numbers of each channel in fp32, and has no copies of weights.
    tolerance = 0.02 if precision == "bf16" else 0
    assert training_bytes(config) == pytest.approx(3 * weights + activations, rel=tolerance)
    deep = changed(config, model={"depth": 38})
    for segment in (1, 3):
        less = changed(deep, compute={"recompute": segment})
        assert training_bytes(less) < 0.7 * training_bytes(deep)
