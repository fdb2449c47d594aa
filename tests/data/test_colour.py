"""Changes of colour: jitter and shifts along the principal components."""

import random

import pytest
import torch

from resnet_repro.data.colour import draw_colour, jitter, pca_shift, recolour
from resnet_repro.settings.recipe import PhotoConfig


def test_jitter_is_a_blend_at_a_time():
    torch.manual_seed(0)
    images = torch.rand(7, 3, 5, 4)
    photo = PhotoConfig(jitter=0.4)
    draws = torch.tensor([draw_colour(random.Random(seed), photo) for seed in range(7)])
    ours = jitter(images, draws[:, :3].long(), draws[:, 3:6])
    for image, numbers, changed_image in zip(images, draws.tolist(), ours, strict=True):
        for kind in numbers[:3]:
            factor = numbers[3 + int(kind)]
            red, green, blue = image
            grey = (0.299 * red + 0.587 * green + 0.114 * blue).expand(3, -1, -1)
            target = [torch.zeros_like(grey), grey.mean().expand_as(grey), grey][int(kind)]
            image = factor * image + (1 - factor) * target
        torch.testing.assert_close(changed_image, image)
    assert len({tuple(numbers[:3]) for numbers in draws.tolist()}) > 2
    assert (draws[:, 3:6] - 1).abs().max() <= 0.4


def test_a_pca_shift_moves_every_pixel_along_the_components():
    components = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [0.5, 0.0, 1.0]])
    shifted = pca_shift(torch.zeros(1, 3, 2, 2), torch.tensor([[0.1, 0.2, 0.3]]), components)
    expected = torch.tensor([0.1 + 0.6, 0.6, 0.05 + 0.3])
    torch.testing.assert_close(shifted[0], expected.view(3, 1, 1).expand(3, 2, 2))
    draws = torch.tensor([draw_colour(random.Random(s), PhotoConfig(pca=0.1)) for s in range(2000)])
    assert draws[:, 6:].std().item() == pytest.approx(0.1, rel=0.05)
    same = torch.rand(2, 3, 4, 4)
    assert recolour(same, draws[:2], PhotoConfig(), None) is same
