"""The networks of localisation: their size, and outputs of single anchors and of classes."""

import pytest
import torch
from torch import nn

from resnet_repro.detection.anchors import grid
from resnet_repro.detection.batch_norm import FrozenBatchNorm
from resnet_repro.detection.localisation.losses import class_loss, num_wrong
from resnet_repro.detection.localisation.networks import (
    ClassAnchors,
    ClassProposer,
    ClassRegions,
    build_localiser,
)
from resnet_repro.settings.detector import DetectorConfig
from tests.support.networks import network

NUM_CLASSES = 5


def settings(step, **changes):
    sizes = [64] if step == "localisation_regions" else []
    return DetectorConfig(step=step, anchors=[2, 4], proposal_sizes=sizes, **changes)


def built(step, **changes):
    torch.manual_seed(0)
    model = network(False, 18, width=8, num_classes=NUM_CLASSES, shortcut="B")
    return build_localiser(model, settings(step, **changes))


def size(module):
    return sum(each.numel() for each in module.parameters())


def test_the_head_of_1000_classes_has_27_8_million_parameters():
    """512 -> 9000 and 36,000 outputs, on the 1024 channels of conv4_x."""
    with torch.device("meta"):
        head = ClassAnchors(1024, 9, 1000)
    assert (head.scores.out_features, head.deltas.out_features) == (9000, 36_000)
    counts = [size(each) for each in (head.conv, head.scores, head.deltas)]
    assert counts == [9 * 1024 * 512 + 512, 513 * 9000, 513 * 36_000]
    assert sum(counts) == 27_804_104


def test_outputs_of_single_anchors_are_those_of_the_layers():
    """By hand: a layer whose outputs are anchors, classes and offsets, in this order."""
    torch.manual_seed(1)
    head = ClassAnchors(6, 3, NUM_CLASSES)
    for each in (head.scores, head.deltas):
        nn.init.normal_(each.bias)
    maps = torch.randn(2, 6, 4, 5)
    hidden = head.hidden(maps)
    last = hidden.permute(0, 2, 3, 1)
    scores = head.scores(last).permute(0, 3, 1, 2).view(2, 3, NUM_CLASSES, 4, 5)
    deltas = head.deltas(last).permute(0, 3, 1, 2).view(2, 3, NUM_CLASSES, 4, 4, 5)
    # image 1, row 2, column 3, anchor 1, class 4; image 0, row 0, column 1, anchor 2, class 0
    images, places = torch.tensor([1, 0]), torch.tensor([(2 * 5 + 3) * 3 + 1, 1 * 3 + 2])
    logits, moved = head.at(hidden, images, places, torch.tensor([4, 0]))
    close = {"rtol": 1e-5, "atol": 1e-6}
    wanted = torch.stack([scores[1, 1, 4, 2, 3], scores[0, 2, 0, 0, 1]])
    torch.testing.assert_close(logits, wanted, **close)
    wanted = torch.stack([deltas[1, 1, 4, :, 2, 3], deltas[0, 2, 0, :, 0, 1]])
    torch.testing.assert_close(moved, wanted, **close)
    logits, moved = head.of_classes(hidden[1:], torch.tensor([4, 2]))
    assert logits.shape == (2, len(grid(4, 5, [2])))
    torch.testing.assert_close(logits[0, places[0]], scores[1, 1, 4, 2, 3], **close)
    torch.testing.assert_close(moved[0, places[0]], deltas[1, 1, 4, :, 2, 3], **close)
    torch.testing.assert_close(logits[1, 5], scores[1, 2, 2, 0, 1], **close)


def test_a_network_has_the_classifiers_layers_and_constant_batch_norm():
    proposer, regions = built("localisation"), built("localisation_regions")
    assert isinstance(proposer, ClassProposer)
    assert isinstance(regions, ClassRegions)
    assert len(proposer.stages) == 3
    assert len(regions.stages) == 4
    names = proposer.state_dict().keys()
    assert {n for n in names if n.startswith("stages.")} < regions.state_dict().keys()
    norms = [m for m in regions.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(each, FrozenBatchNorm) for each in norms)
    trained = {n.split(".")[0] + "." + n.split(".")[1] for n, p in regions.named_parameters()
               if p.requires_grad}  # fmt: skip
    assert trained == {
        *("stages.1", "stages.2", "stages.3"),
        *("scores.weight", "scores.bias", "deltas.weight", "deltas.bias"),
    }
    body = built("localisation", frozen="body")
    assert {n.split(".")[0] for n, p in body.named_parameters() if p.requires_grad} == {"proposer"}


def test_regions_have_the_outputs_of_their_class():
    regions = built("localisation_regions").eval()
    images, labels = torch.randn(3, 3, 64, 64), torch.tensor([4, 0, 2])
    logits, deltas = regions(images, labels)
    assert (logits.shape, deltas.shape) == ((3,), (3, 4))
    alone, _ = regions(images[2:], labels[2:])
    torch.testing.assert_close(alone, logits[2:], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        regions.scores.weight[2].zero_()
        regions.scores.bias[2] = 3.0
    assert regions(images, labels)[0][2].item() == pytest.approx(3.0)


def test_the_loss_is_logistic_and_moves_objects_alone():
    logits, is_object = torch.tensor([0.0, 2.0]), torch.tensor([True, False])
    deltas = torch.tensor([[0.5, 0, 0, 0], [9.0, 9, 9, 9]])
    loss = class_loss(logits, deltas, is_object, torch.zeros(2, 4), torch.tensor([2]), beta=1.0)
    log = torch.log(torch.tensor([2.0, 1 + torch.tensor(2.0).exp()]))
    assert loss.item() == pytest.approx((log.sum().item() + 0.125) / 2)
    assert num_wrong(logits, is_object) == 2


def test_each_photograph_counts_the_same_however_many_samples_it_has():
    """So two processes, with a photograph each, compute the loss of one process."""
    numbers = torch.tensor([4, 2, 0])
    logits, deltas, is_object = torch.randn(6), torch.randn(6, 4), torch.arange(6) % 3 == 0
    samples = logits, deltas, is_object, torch.zeros(6, 4)
    alone = [
        class_loss(*part, torch.tensor([len(part[0])]), beta=1.0)
        for part in zip(*(each.split(numbers.tolist()) for each in samples), strict=True)
    ]
    assert alone[2] == 0
    together = class_loss(*samples, numbers, beta=1.0)
    torch.testing.assert_close(together, torch.stack(alone).mean())


@pytest.mark.parametrize("step", ["localisation", "localisation_regions"])
def test_in_bf16_scores_are_not_rounded_to_equal_ones(step):
    """The best of hundreds of boxes is asked for, and bf16 has eight bits."""
    model, images = built(step).eval(), torch.randn(64, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        if step == "localisation":
            hidden = model.hidden(images[:1].expand(1, 3, 64, 64))
            scores = model.proposer.of_classes(hidden, torch.tensor([1]))[0].flatten()
        else:
            scores = model(images, torch.ones(64, dtype=torch.int64))[0]
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
