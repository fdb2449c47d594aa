"""The size of a network of localisation."""

from dataclasses import replace

import torch

from resnet_repro.detection.localisation.networks import (
    ClassProposer,
    ClassRegions,
    build_localiser,
)
from resnet_repro.models.complexity import Complexity, Counter, kept_bytes
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import RunConfig


def measure_localiser(config: RunConfig) -> Complexity:
    """Return the size of a network; multiply-adds are those for a photograph in training."""
    one = measure_view(config)
    return replace(one, multiply_adds=one.multiply_adds * num_views(config))


def num_views(config: RunConfig) -> int:
    """Return the number of crops or regions of a photograph that are trained on."""
    return 1 if config.detector.step == "localisation" else config.detector.sampled_regions


def measure_view(config: RunConfig) -> Complexity:
    """Return the size of a network, with the multiply-adds for one crop or region.

    Of the outputs of all classes, none is counted for a crop: few anchors are computed.
    """
    with torch.device("meta"):
        model = _built(config).eval()
        image = torch.empty(1, 3, config.data.image_size, config.data.image_size)
        labels = torch.zeros(1, dtype=torch.int64)
    counter = Counter(model)
    with torch.no_grad():
        model.hidden(image) if isinstance(model, ClassProposer) else model(image, labels)
    return counter.complexity()


def localiser_training_bytes(config: RunConfig) -> int:
    """Return the memory that training needs, in bytes: of weights, and of all images of a batch.

    As `models.complexity.training_bytes`, with as many regions as are sampled.
    """
    with torch.device("meta"):
        model = _built(config)
        image = torch.empty(1, 3, config.data.image_size, config.data.image_size)
    model.train().trains(config.detector.frozen)
    in_bf16 = config.recipe.precision == "bf16"
    weights = sum(each.nbytes for each in [*model.parameters(), *model.buffers()])
    trained = sum(each.nbytes for each in model.parameters() if each.requires_grad)
    copies = sum(each.nbytes for each in model.parameters()) // 2 if in_bf16 else 0
    kept = kept_bytes(torch.nn.Sequential(model.stem, model.stages), image, in_bf16)[0]
    return weights + 2 * trained + copies + kept * config.recipe.batch_size * num_views(config)


def _built(config: RunConfig) -> ClassProposer | ClassRegions:
    assert isinstance(config.model, ModelConfig), "checked with the settings"
    return build_localiser(config.model, config.detector)
