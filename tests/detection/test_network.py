"""Detectors: their parts are the classifier's, and a step trains what it names."""

import json

import pytest
import torch
import torchvision
from torch import nn

from resnet_repro.detection.batch_norm import FrozenBatchNorm
from resnet_repro.detection.network import build_detector
from resnet_repro.models import build_model
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.model import ModelConfig
from tests.support.paths import REFERENCE

OF_PAPERS = json.loads((REFERENCE / "param_counts.json").read_text())
VOC, COCO = (20, [8.0, 16.0, 32.0]), (80, [4.0, 8.0, 16.0, 32.0])
LAST_OF_1000 = 2048 * 1000 + 1000


def settings_of(name, **changes):
    depth = int(name.split("-")[1])
    made = {"name": "imagenet_resnet", "depth": depth, "shortcut": "B", "width": 64}
    if name.startswith("VGG"):
        made |= {"name": "vgg16", "shortcut": "none"}
    if name.startswith("ResNeXt"):
        made |= {"cardinality": "32x4d", "stride_in": "3x3"}
    return ModelConfig(**{**made, "num_classes": 7, **changes})


def detector_of(name, **changes):
    """Return a narrow detector whose batch norms are drawn at random."""
    torch.manual_seed(0)
    context = changes.pop("context", False)
    config = DetectorConfig(step="joint", context=context)
    made = build_detector(settings_of(name, **{"width": 8, **changes}), config)
    draw_norms(made)
    return made


def draw_norms(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.1)


def count(module):
    """Return the number of parameters, with the constant ones of batch norm."""
    constant = (".weight", ".bias")
    of_norms = (each.numel() for name, each in module.named_buffers() if name.endswith(constant))
    return sum(weight.numel() for weight in module.parameters()) + sum(of_norms)


# Computed from the layers' shapes, apart from this code: proposer of 512 channels with two scores
# per anchor, no biases in the ResNets' bodies. With the proposer's and the siblings' part.
COUNTS = [
    ("VGG-16", VOC, False, 137_078_239, 2_387_510, 430_185),
    ("VGG-16", COCO, False, 138_316_573, 2_396_744, 1_659_285),
    ("ResNet-101", VOC, False, 47_462_111, 4_746_806, 215_145),
    ("ResNet-101", COCO, False, 48_086_045, 4_756_040, 829_845),
    ("ResNet-50", COCO, False, 29_093_917, 4_756_040, 829_845),
    ("ResNet-101", COCO, True, 48_086_045 + 829_440, 4_756_040, 1_659_285),
    ("ResNet-101", (200, VOC[1]), False, None, 4_746_806, 2_059_245),
    ("ResNeXt-50", COCO, False, None, 4_756_040, 829_845),
    ("ResNeXt-101", COCO, False, None, 4_756_040, 829_845),
]


@pytest.mark.parametrize(
    ("name", "data", "context", "params", "of_proposer", "of_siblings"), COUNTS
)
def test_parameters_are_counted(name, data, context, params, of_proposer, of_siblings):
    num_classes, anchors = data
    with torch.device("meta"):
        config = DetectorConfig(step="joint", anchors=anchors, context=context)
        detector = build_detector(settings_of(name, num_classes=num_classes), config)
    if params is None:  # the classifier's, with another end
        which = "32x4d" if "X" in name else "B (stride in 1x1, original)"
        key = f"{name.replace('ResNeXt', 'ResNe(X)t')} {which}"
        classifier = OF_PAPERS[key]["params"]
        params = classifier - LAST_OF_1000 + of_proposer + of_siblings
    assert count(detector) == params
    assert count(detector.proposer) == of_proposer
    assert count(detector.scores) + count(detector.deltas) == of_siblings


NETWORKS = [
    ("ResNet-18", {"shortcut": "A"}),
    ("ResNet-34", {"shortcut": "C"}),
    ("ResNet-50", {}),
    ("ResNeXt-50", {"width": 64}),
    ("VGG-16", {}),
]


@pytest.mark.parametrize(("name", "changes"), NETWORKS)
def test_layers_are_the_classifiers_by_name_and_value(name, changes):
    """Whatever is loaded by name, and whether or not it trains."""
    detector = detector_of(name, **changes)
    classifier = build_model(settings_of(name, **{"width": 8, **changes})).eval()
    draw_norms(classifier)
    weights, own = classifier.state_dict(), detector.state_dict()
    shared = {key: tensor for key, tensor in weights.items() if not key.startswith("fc.")}
    assert all(own[key].shape == tensor.shape for key, tensor in shared.items())
    new = ("proposer.", "scores.", "deltas.")
    assert {key for key in own if not key.startswith(new)} == shared.keys()
    detector.load_state_dict({**own, **shared})

    size = (96, 80) if name == "VGG-16" else (90, 75)  # a detector's poolings round up
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        if name == "VGG-16":
            x = classifier.stages[0](images)
            for stage in classifier.stages[1:]:
                x = stage(classifier.pool(x))
        else:
            x = classifier.stages[:3](classifier.stem(images))
        maps = detector.train().body(images)
        assert torch.equal(maps, x)
        last = detector.to(memory_format=torch.channels_last).body(images)
        assert last.is_contiguous(memory_format=torch.channels_last)
        rounding = {"rtol": 0, "atol": 1e-4 * maps.abs().max().item()}
        torch.testing.assert_close(last, maps, **rounding)
        # The head, on maps as large as a pooled region, whose last pixels are those of a region.
        size = 7 if name == "VGG-16" else 14
        pooled = torch.randn(2, maps.shape[1], size, size)
        end = 16 * (size - 1) + 1
        regions = torch.tensor([[k, 0, 0, end, end] for k in (0.0, 1.0)])
        values = detector.eval().pooled(pooled, regions)
        if name == "VGG-16":
            expected = classifier.hidden(pooled.flatten(1))
        else:
            expected = classifier.stages[3](pooled).mean(dim=(2, 3))
        rounding["atol"] = 1e-4 * expected.abs().max().item()
        torch.testing.assert_close(values, expected, **rounding)
        logits, deltas = detector.classify(values, None, regions[:, 0].long())
        assert (logits.shape, deltas.shape) == ((2, 8), (2, 8, 4))


def test_maps_have_the_sizes_of_torch_and_those_of_vgg_caffes():
    with torch.device("meta"):
        for height, width, expected in ((600, 901, (38, 57)), (562, 1000, (36, 63))):
            maps = detector_of("ResNet-18").body(torch.empty(1, 3, height, width))
            assert maps.shape[2:] == expected
        for height, width, expected in ((600, 901, (38, 57)), (1000, 10, (63, 1))):
            maps = detector_of("VGG-16").body(torch.empty(1, 3, height, width))
            assert maps.shape[2:] == expected


def test_scores_and_offsets_are_in_the_anchors_order():
    """Rows, columns, anchors: a map with a single bright position, and a bias for each anchor."""
    detector = detector_of("ResNet-18")
    proposer, num_anchors = detector.proposer, detector.num_anchors
    assert num_anchors == 9
    with torch.no_grad():
        for weight in proposer.parameters():
            weight.zero_()
        proposer.conv.weight[0, 0, 1, 1] = 1
        proposer.scores.weight[1::2, 0] = 100
        proposer.scores.bias[1::2] = torch.arange(9.0)
        proposer.deltas.bias.copy_(torch.arange(36.0))
        maps = torch.zeros(2, 32, 4, 5)
        maps[1, 0, 2, 3] = 1
        logits, deltas = detector.propose(maps)
    assert (logits.shape, deltas.shape) == ((2, 4 * 5 * 9, 2), (2, 4 * 5 * 9, 4))
    expected = torch.arange(9.0).repeat(2, 4, 5, 1)
    expected[1, 2, 3] += 100
    assert torch.equal(logits[..., 1], expected.view(2, -1))
    assert not logits[..., 0].any()
    assert torch.equal(deltas, torch.arange(36.0).view(9, 4).repeat(2, 20, 1))


def test_new_layers_are_drawn_as_in_the_papers():
    detector = detector_of("ResNet-50", width=64)
    of_proposer = [detector.proposer.conv, detector.proposer.scores, detector.proposer.deltas]
    stds = [*((layer, 0.01) for layer in (*of_proposer, detector.scores)), (detector.deltas, 0.001)]
    for layer, std in stds:
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert not layer.bias.any()


STEPS = {
    ("proposals", "early"): ["stages.1", "stages.2", "proposer"],
    ("proposals", "body"): ["proposer"],
    ("regions", "early"): ["stages.1", "stages.2", "stages.3", "scores", "deltas"],
    ("regions", "body"): ["stages.3", "scores", "deltas"],
    ("joint", "early"): ["stages.1", "stages.2", "stages.3", "proposer", "scores", "deltas"],
    ("joint", "body"): ["stages.3", "proposer", "scores", "deltas"],
}
OF_VGG = {
    "stages.1": ["stages.2"],
    "stages.2": ["stages.3", "stages.4"],
    "stages.3": ["hidden"],
}  # by the ResNet's


def computed(detector, images):
    """Return a loss of all that a detector computes."""
    maps = detector.body(images)
    regions = torch.tensor([[0, 0, 0, 60, 60.0], [1, 20, 8, 64, 64], [1, 0, 0, 30, 50]])
    whole = torch.tensor([[k, 0, 0, images.shape[3], images.shape[2]] for k in (0.0, 1.0)])
    context = detector.pooled(maps, whole) if detector.context else None
    vectors = detector.pooled(maps, regions)
    found = (*detector.propose(maps), *detector.classify(vectors, context, regions[:, 0].long()))
    return sum((each - 1).square().sum() for each in found)


@pytest.mark.parametrize("name", ["ResNet-50", "VGG-16"])
@pytest.mark.parametrize(("step", "frozen"), STEPS)
def test_a_step_trains_its_own_layers_and_leaves_all_else_to_the_bit(name, step, frozen):
    detector = detector_of(name).train()
    trained = STEPS[step, frozen]
    if name == "VGG-16":
        trained = [new for each in trained for new in OF_VGG.get(each, [each])]
    detector.trains("joint", "early")  # what was set before does not count
    detector.trains(step, frozen)
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-4, momentum=0.9, weight_decay=0.1)
    before = {key: tensor.clone() for key, tensor in detector.state_dict().items()}
    for _ in range(2):
        optimizer.zero_grad()
        computed(detector, torch.randn(2, 3, 64, 64)).backward()
        optimizer.step()
    moved = {key for key, t in detector.state_dict().items() if not torch.equal(t, before[key])}
    norms = ("bn", "running_", "num_batches")
    expected = {
        key
        for key in before
        if key.startswith(tuple(f"{each}." for each in trained))
        and not any(each in key for each in norms)
    }
    assert moved == expected


def test_frozen_batch_norm_is_torchvisions_with_what_follows():
    torch.manual_seed(0)
    ours = FrozenBatchNorm(6, relu=True)
    draw_norms(nn.Sequential(ours))
    theirs = torchvision.ops.FrozenBatchNorm2d(6)
    theirs.load_state_dict({k: t for k, t in ours.state_dict().items() if "num_" not in k})
    assert not list(ours.parameters())
    results = []
    x, added, weights = torch.randn(3, 2, 6, 4, 5)
    for norm in (lambda x, h: ours(x, h), lambda x, h: (theirs(x) + h).relu()):
        leaves = x.clone().requires_grad_(), added.clone().requires_grad_()
        y = norm(*leaves)
        (y * weights).sum().backward()
        results.append((y, *(leaf.grad for leaf in leaves)))
    torch.testing.assert_close(results[0], results[1])
    ours.relu = False
    torch.testing.assert_close(ours(x), theirs(x))


def test_what_is_kept_for_the_backward_pass_is_no_more_than_inputs_of_convolutions():
    detector = detector_of("ResNet-50")
    detector.trains("proposals", "early")
    kept, inputs = {}, {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor
        return tensor

    for module in detector.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, x: inputs.update({x[0].data_ptr(): x[0]}))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = detector.body(torch.randn(1, 3, 64, 64))
    large = {p for p, t in kept.items() if t.dim() == 4 and t.shape[0] == 1 and t.numel() > 256}
    assert large <= inputs.keys() | {maps.data_ptr()}


def test_with_context_a_region_is_classified_with_its_own_image():
    detector = detector_of("ResNet-18", context=True).eval()
    vectors, context = torch.randn(3, 64), torch.randn(2, 64)
    image_of = torch.tensor([1, 0, 1])
    logits, deltas = detector.classify(vectors, context, image_of)
    both = torch.stack([torch.cat((v, context[k])) for v, k in zip(vectors, image_of, strict=True)])
    torch.testing.assert_close(logits, detector.scores(both))
    torch.testing.assert_close(deltas, detector.deltas(both).view(3, 8, 4))
    detector.trains("regions", "early")
    computed(detector.train(), torch.randn(2, 3, 64, 64)).backward()
    assert detector.scores.weight.grad[:, 64:].any()


def test_in_bf16_results_are_float32_and_close():
    detector = detector_of("ResNet-50").to(memory_format=torch.channels_last)
    detector.trains("joint", "early")
    images, losses = torch.randn(2, 3, 64, 64), []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = computed(detector, images)
        assert loss.dtype == torch.float32
        losses.append(loss)
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=0.02, atol=0)


def test_in_bf16_scores_are_not_rounded_to_bf16():
    """Many would be equal, and boxes are ranked by them."""
    detector = detector_of("ResNet-18").eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = detector.body(torch.randn(1, 3, 64, 64))
        found = [*detector.propose(maps), *detector.classify(torch.randn(9, 64), None, None)]
    for values in found:
        assert values.dtype == torch.float32
        assert (values != values.bfloat16()).float().mean() > 0.5
