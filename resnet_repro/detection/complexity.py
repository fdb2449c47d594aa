"""The size of a detector: parameters, multiply-adds for a photograph, memory in training."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnet_repro.detection.network import Detector, build_detector
from resnet_repro.models.complexity import Complexity, Counter, kept_bytes
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import RunConfig

_measured: dict[str, tuple[Complexity, "Work"]] = {}
_needed: dict[str, int] = {}


@dataclass(frozen=True)
class Work:
    """Multiply-adds of a detector for a photograph of usual size.

    Attributes:
        body: Of the map that proposals and regions share.
        proposer: Of the logits and offsets of all anchors.
        region: Of one region, from its pooled map.
    """

    body: int
    proposer: int
    region: int


def usual_size(config: RunConfig) -> tuple[int, int]:
    """Return height and width, pixels, of a photograph of 4:3, as most are, as a detector sees it.

    That of the shorter side: 600 x 800.
    """
    return config.data.image_size, config.data.image_size * 4 // 3


def measure_detector(config: RunConfig) -> Complexity:
    """Return the size of a detector; the multiply-adds are those of its training's forward pass.

    That is the body, the anchors where it learns proposals, and the sampled regions where it learns
    those, for a photograph of usual size.
    """
    return _counted(config)[0]


def work(config: RunConfig) -> Work:
    """Return the multiply-adds of the parts of a detector."""
    return _counted(config)[1]


def _counted(config: RunConfig) -> tuple[Complexity, Work]:
    key = repr((config.model, config.detector, config.data.image_size))
    if key not in _measured:
        _measured[key] = _count(config)
    return _measured[key]


def _count(config: RunConfig) -> tuple[Complexity, Work]:
    with torch.device("meta"):
        model = _built(config).eval()
        image = torch.empty(1, 3, *usual_size(config))
    counter, step = Counter(model), config.detector.step
    ends = []
    with torch.no_grad():
        maps = model.body(image)
        ends.append(counter.multiply_adds)
        model.propose(maps)
        ends.append(counter.multiply_adds)
        _classify(model, maps, 1)
    body, proposer, region = ends[0], ends[1] - ends[0], counter.multiply_adds - ends[1]
    found = counter.complexity()
    in_step = body + (proposer if step in ("proposals", "joint") else 0)
    if step in ("regions", "joint"):
        in_step += region * config.detector.sampled_regions
    size = Complexity(
        found.layers, found.params, found.params_without_bn, in_step, found.activations
    )
    return size, Work(body, proposer, region)


def detector_training_bytes(config: RunConfig) -> int:
    """Return the memory that training needs, in bytes: of weights, and of the largest photograph.

    As `models.complexity.training_bytes`; photographs are computed one at a time.
    """
    key = repr((config.model, config.detector, config.data, config.recipe.precision))
    if key not in _needed:
        _needed[key] = _training_bytes(config)
    return _needed[key]


def _training_bytes(config: RunConfig) -> int:
    assert config.data.boxes is not None
    detector = config.detector
    with torch.device("meta"):
        model = _built(config)
        image = torch.empty(1, 3, config.data.image_size, config.data.boxes.longest)
    model.train().trains(detector.step, detector.frozen)
    in_bf16 = config.recipe.precision == "bf16"
    weights = sum(each.nbytes for each in [*model.parameters(), *model.buffers()])
    trained = sum(each.nbytes for each in model.parameters() if each.requires_grad)
    copies = sum(each.nbytes for each in model.parameters()) // 2 if in_bf16 else 0
    return weights + 2 * trained + copies + kept_bytes(_Trained(model, config), image, in_bf16)[0]


class _Trained(nn.Module):
    """What a step computes of a photograph, as a network."""

    def __init__(self, detector: Detector, config: RunConfig) -> None:
        super().__init__()
        self.detector, self._config = detector, config.detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps, found = self.detector.body(image), list[Tensor]()
        if self._config.step in ("proposals", "joint"):
            found += self.detector.propose(maps)
        if self._config.step in ("regions", "joint"):
            found += _classify(self.detector, maps, self._config.sampled_regions)
        return tuple(found)


def _classify(detector: Detector, maps: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Classify a number of regions, together with the whole image if the detector does."""
    regions = maps.new_zeros(number + detector.context, 5)
    vectors, context = detector.pooled(maps, regions), None
    if detector.context:
        vectors, context = vectors[:-1], vectors[-1:]
    image_of = torch.zeros(number, dtype=torch.int64, device=maps.device)
    return detector.classify(vectors, context, image_of)


def _built(config: RunConfig) -> Detector:
    assert isinstance(config.model, ModelConfig), "checked with the settings"
    return build_detector(config.model, config.detector)
