"""The synthetic set: the same everywhere, balanced, and a matter of shape, not of colour."""

import torch

from resnet_repro.data.synthetic import CLASS_NAMES, generate


def nearest_mean_error(train, test):
    """Return the error of the nearest class mean, in %, on (N, features)."""
    (x, labels), (y, truth) = train, test
    means = torch.stack([x[labels == label].mean(dim=0) for label in range(len(CLASS_NAMES))])
    return 100 * (torch.cdist(y, means).argmin(dim=1) != truth).float().mean().item()


def test_images_are_a_function_of_the_arguments():
    images, labels = generate(200, 16, seed=3)
    again, same_labels = generate(200, 16, seed=3)
    assert torch.equal(images, again)
    assert torch.equal(labels, same_labels)
    assert images.shape == (200, 3, 16, 16)
    assert images.dtype == torch.uint8
    assert not torch.equal(images, generate(200, 16, seed=4)[0])


def test_classes_are_equally_many():
    assert torch.bincount(generate(200, 16, seed=0)[1]).tolist() == [20] * 10
    assert sorted(torch.bincount(generate(203, 16, seed=0)[1]).tolist()) == [20] * 7 + [21] * 3


def test_colour_does_not_give_the_class_away_and_shape_does():
    train, test = generate(4000, 16, seed=0), generate(1000, 16, seed=1)
    mean_colour = [(x.float().mean(dim=(2, 3)), labels) for x, labels in (train, test)]
    assert nearest_mean_error(*mean_colour) > 80  # chance is 90

    def edges(x):
        """How strong and how turning an image's edges are, whatever its colours: (N, 8)."""
        gray = x.float().mean(dim=1)
        across, down = gray.diff(dim=2)[:, :15], gray.diff(dim=1)[:, :, :15]
        strength = torch.hypot(across, down)
        scale = strength.mean(dim=(1, 2), keepdim=True)
        parts = [(strength / scale).flatten(1).quantile(q, dim=1) for q in (0.5, 0.7, 0.8, 0.9)]
        return torch.stack(parts, dim=1)

    shape = [(edges(x), labels) for x, labels in (train, test)]
    assert nearest_mean_error(*shape) < 75
