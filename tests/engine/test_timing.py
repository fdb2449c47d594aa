"""What is timed is what is trained."""

import torch

from resnet_repro.engine import timing
from tests.support.training import EAGER


def test_a_network_is_timed_in_the_groups_in_which_it_is_trained(config, monkeypatch):
    given = []

    def step(model, optimizer, bn_batch, execution):
        given.append(bn_batch)
        return lambda images, labels: given.append(images.shape) or torch.zeros(2)

    monkeypatch.setattr(timing, "Step", step)
    next(timing.network_loop(config, EAGER))
    assert given == [8, (16, 3, 16, 16)]
