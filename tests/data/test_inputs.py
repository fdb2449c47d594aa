"""What is subtracted from images and divided by before a network sees them."""

import torch

from tests.support.sets import inputs_of


def test_the_mean_is_per_pixel_and_the_input_has_mean_zero():
    pixels = torch.randint(256, (5000, 3, 4, 4), dtype=torch.uint8)
    inputs = inputs_of(pixels)
    torch.testing.assert_close(inputs.mean, (pixels.double() / 255).mean(dim=0).float())
    assert inputs.normalise(pixels).mean(dim=0).abs().max() < 1e-6


def test_channels_have_mean_0_and_std_1_and_components_are_the_covariances():
    torch.manual_seed(0)
    grey = torch.randint(256, (300, 1, 8, 8))
    pixels = (0.7 * grey + 0.3 * torch.randint(256, (300, 3, 8, 8))).to(torch.uint8)
    inputs = inputs_of(pixels, "channels", pca=True)
    shown = inputs.normalise(pixels).transpose(0, 1).flatten(1)
    torch.testing.assert_close(shown.mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(shown.std(dim=1), torch.ones(3), atol=1e-4, rtol=0)
    covariance = torch.cov(pixels.double().div(255).transpose(0, 1).flatten(1)).float()
    variances = inputs.components.norm(dim=0)  # each column: a direction times its variance
    directions = inputs.components / variances
    torch.testing.assert_close(
        directions @ variances.diag() @ directions.T, covariance, atol=1e-5, rtol=1e-3
    )


def test_the_mean_image_is_resized_with_the_test_image():
    inputs = inputs_of(torch.full((4, 3, 8, 8), 51, dtype=torch.uint8))
    shown = inputs.normalise(torch.full((2, 3, 20, 12), 255, dtype=torch.uint8))
    torch.testing.assert_close(shown, torch.full((2, 3, 20, 12), 0.8))
