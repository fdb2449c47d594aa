"""The least time that a network can take."""

from dataclasses import replace

import torch

from resnet_repro.bench import roofline
from resnet_repro.bench.roofline import Rates, lower_bound_seconds
from resnet_repro.models.complexity import measure
from resnet_repro.settings.model import ModelConfig
from tests.support.runs import changed
from tests.support.training import CPU


def test_the_floor_of_a_network_counted_by_hand(config):
    """A network of three layers: what is computed and moved, at one unit of time for each."""
    model = ModelConfig(name="cifar_resnet", depth=8, shortcut="A", width=4, num_classes=10)
    config = changed(config, recipe={"batch_size": 16})
    config = replace(config, model=model)
    size = measure(config)
    # 16 x 16 pixels: three maps of 4 channels, two of 8 on 8 x 8, two of 16 on 4 x 4; ten classes.
    activations = 3 * 4 * 256 + 2 * 8 * 64 + 2 * 16 * 16 + 10
    assert size.activations == activations
    arithmetic = 3 * 2 * 16 * size.multiply_adds
    moved = 5 * 4 * 16 * activations + 6 * 4 * size.params
    assert lower_bound_seconds(config, size, Rates(1.0, 1e12)) == (arithmetic, "arithmetic")
    assert lower_bound_seconds(config, size, Rates(1e12, 1.0)) == (moved, "memory")
    half = changed(config, recipe={"precision": "bf16"})
    moved -= 5 * 2 * 16 * activations
    assert lower_bound_seconds(half, size, Rates(1e12, 1.0)) == (moved, "memory")


def test_a_small_chip_is_measured_with_what_fits_its_memory(monkeypatch):
    """The copy takes the most: here it fits once it has a quarter of its size."""
    sizes = []

    def empty_like(source, real=torch.empty_like):
        sizes.append(source.numel())
        if source.numel() > 2**24:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(source)

    monkeypatch.setattr(roofline, "REPEATS", 1)
    monkeypatch.setattr(torch, "empty_like", empty_like)
    monkeypatch.setattr(torch, "randn", torch.zeros)  # which takes less time to make
    rates = roofline.measure_rates("fp32", CPU)
    assert sizes == [2**26, 2**25, 2**24]
    assert rates.operations > 0 and rates.bandwidth > 0
