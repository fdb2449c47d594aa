"""The least time that a network can take."""

from dataclasses import replace

from resnet_repro.bench.roofline import Rates, lower_bound_seconds
from resnet_repro.models.complexity import measure
from resnet_repro.settings.model import ModelConfig
from tests.support.runs import changed


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
