"""The losses of a detector are those of the formulas, one sample at a time."""

import math

import pytest
import torch

from resnet_repro.detection.losses import proposal_loss, region_loss
from resnet_repro.detection.targets import AnchorTargets, RegionTargets
from tests.support.detectors import losses, picture, settings, small_detector


def cross_entropy(row, label):
    return math.log(sum(math.exp(value) for value in row)) - row[label]


def caffe_smooth_l1(found, aims, sigma):
    """Return what SmoothL1Loss of Fast R-CNN's Caffe adds up."""
    total = 0.0
    for value, aim in zip(found, aims, strict=True):
        error = abs(value - aim)
        near = error < 1 / sigma**2
        total += 0.5 * (sigma * error) ** 2 if near else error - 0.5 / sigma**2
    return total


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[0]))


def test_the_loss_of_proposals_is_that_of_the_sampled_anchors():
    logits, deltas = drawn(20, 2), drawn(21, 4)[:20]
    indices, labels = torch.tensor([17, 3, 11, 0, 5]), torch.tensor([1, 1, 0, 0, 0])
    # Some differences are below 1/9, where the loss is quadratic.
    aims = deltas[indices] + torch.tensor([0.05, -0.1, 0.2, -2])
    loss = proposal_loss(logits, deltas, AnchorTargets(indices, labels, aims))
    pairs = zip(indices.tolist(), labels.tolist(), strict=True)
    classification = sum(cross_entropy(logits[n].tolist(), label) for n, label in pairs)
    boxes = sum(
        caffe_smooth_l1(deltas[indices[n]].tolist(), aims[n].tolist(), sigma=3) for n in (0, 1)
    )
    assert loss.number == 5
    assert loss.classification.item() == pytest.approx(classification, rel=1e-5)
    assert loss.boxes.item() == pytest.approx(boxes, rel=1e-5)
    assert loss.mean.item() == pytest.approx((classification + boxes) / 5, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_of_regions_uses_the_box_of_the_right_class(dtype):
    logits, deltas = drawn(6, 4).to(dtype), drawn(6, 4, 4).to(dtype)
    labels, aims = torch.tensor([3, 1, 0, 0, 0, 0]), drawn(6, 4)
    targets = RegionTargets(torch.zeros(6, 4), labels, aims)
    loss = region_loss(logits, deltas, targets)
    numbers = range(6)
    classification = sum(cross_entropy(logits[n].tolist(), labels[n].item()) for n in numbers)
    boxes = sum(
        caffe_smooth_l1(deltas[n, labels[n]].tolist(), aims[n].tolist(), sigma=1) for n in (0, 1)
    )
    assert loss.mean.dtype == torch.float32
    assert loss.mean.item() == pytest.approx((classification + boxes) / 6, rel=1e-5)


@pytest.mark.parametrize(
    "image", [picture(), picture()[:, :20, :20]], ids=["background", "nothing"]
)
def test_a_photograph_without_objects_can_be_trained_on(image):
    """Its second size is smaller than all anchors, and has no region to sample."""
    config = settings(context=True, background=[0.0, 0.5], min_size=30.0)
    detector = small_detector(config)
    detector.trains("joint", "early")
    none = torch.empty(0, 4), torch.empty(0, dtype=torch.int64)
    of_anchors, of_regions = losses(detector, config, image, *none, iteration=0)
    assert (of_anchors.number > 0) == (of_regions.number > 0) == (image.shape[1] > 20)
    loss = of_anchors.mean + of_regions.mean
    assert loss.isfinite()
    loss.backward()
    assert not of_anchors.boxes and not of_regions.boxes
    gradients = [each.grad for each in detector.parameters() if each.requires_grad]
    assert all(each is None or each.isfinite().all() for each in gradients)
