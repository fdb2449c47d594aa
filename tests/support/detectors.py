"""A small detector, a picture of three kinds of objects, and the training of one on the other."""

import torch
import torch.nn.functional as F

from resnet_repro.detection.anchors import grid
from resnet_repro.detection.batch_norm import FrozenBatchNorm
from resnet_repro.detection.losses import proposal_loss, region_loss
from resnet_repro.detection.network import build_detector
from resnet_repro.detection.proposer import proposals
from resnet_repro.detection.pyramid import ImagePyramid, Photograph
from resnet_repro.detection.targets import anchor_targets, generator, region_targets
from resnet_repro.settings.data import BoxesConfig, DataConfig
from resnet_repro.settings.detector import DetectorConfig
from tests.support.networks import network

HEIGHT, WIDTH = 128, 192
BOXES = torch.tensor([[10.0, 10, 74, 64], [100, 4, 180, 60], [20, 76, 70, 124], [96, 66, 160, 122]])
CLASSES = torch.tensor([0, 1, 2, 0])
DATA = DataConfig(
    name="voc",
    title="picture",
    image_size=HEIGHT,
    num_classes=3,
    boxes=BoxesConfig(train=["train"], test=["test"], longest=300),
)


def settings(**changes) -> DetectorConfig:
    return DetectorConfig(**{"step": "joint", "anchors": [2.0, 4.0], "min_size": 4.0, **changes})


def picture():
    """Return (3, HEIGHT, WIDTH): noise, and objects whose colours tell class and place."""
    image = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) / 10
    for (x1, y1, x2, y2), number in zip(BOXES.int().tolist(), CLASSES.tolist(), strict=True):
        part = image[:, y1:y2, x1:x2]
        part[number] += 2
        part[(number + 1) % 3] += torch.linspace(-1.5, 1.5, x2 - x1)
        part[(number + 2) % 3] += torch.linspace(-1.5, 1.5, y2 - y1)[:, None]
    return image


def photograph(image) -> Photograph:
    def image_at(height, width):
        return F.interpolate(image[None], (height, width), mode="bilinear")[0]

    return Photograph(*image.shape[1:], image_at)


def small_detector(config, seed=0):
    """Return a detector of 8 channels with statistics of batch norm that fit the picture."""
    torch.manual_seed(seed)
    model = network(False, 18, width=8, num_classes=len(CLASSES.unique()), shortcut="B")
    detector = build_detector(model, config)

    def take(module, inputs):
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        module.running_var.copy_(variance)
        module.running_mean.copy_(mean)

    norms = [module for module in detector.modules() if isinstance(module, FrozenBatchNorm)]
    hooks = [module.register_forward_pre_hook(take) for module in norms]
    with torch.no_grad():
        detector.pooled(detector.body(picture()[None]), of_first_image(BOXES))
    for hook in hooks:
        hook.remove()
    return detector.eval()


def of_first_image(boxes):
    return F.pad(boxes, (1, 0))


def losses(detector, config, image, boxes, classes, iteration):
    """Return both losses of a photograph in joint training."""
    height, width = image.shape[1:]
    maps = detector.body(image[None])
    logits, deltas = (each[0] for each in detector.propose(maps))
    anchors = grid(*maps.shape[-2:], config.anchors)
    draws = generator(0, iteration, 0, "anchors")
    aims = anchor_targets(anchors, boxes, height, width, config.sampled_anchors, draws)
    found, _ = proposals(
        logits.detach(), deltas.detach(), anchors, height, width, config.min_size, None, 200
    )
    draws = generator(0, iteration, 0, "regions")
    low, high = config.background
    regions = region_targets(found, boxes, classes, config.sampled_regions, (low, high), draws)
    whole = of_first_image(torch.tensor([[0.0, 0, width, height]]))
    context = detector.pooled(maps, whole) if detector.context else None
    vectors = detector.pooled(maps, of_first_image(regions.boxes))
    outputs = detector.classify(vectors, context, torch.zeros(len(vectors), dtype=torch.int64))
    return proposal_loss(logits, deltas, aims), region_loss(*outputs, regions)


def fit(detector, config, iterations, lr):
    """Train a detector on the picture alone."""
    detector.train()
    detector.trains("joint", "early")
    trained = [each for each in detector.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(trained, lr, momentum=0.9)
    drop = torch.optim.lr_scheduler.MultiStepLR(optimizer, [iterations * 3 // 4])
    for iteration in range(iterations):
        parts = losses(detector, config, picture(), BOXES, CLASSES, iteration)
        optimizer.zero_grad()
        sum(part.mean for part in parts).backward()
        optimizer.step()
        drop.step()
    detector.eval().requires_grad_(False)


def pyramid(detector, config, sizes=(HEIGHT,), given=None, image=None):
    made = photograph(picture() if image is None else image)
    return ImagePyramid(detector, made, config, DATA, sizes, given)
