"""Test protocols, and the slow way to compute each."""

from dataclasses import replace

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from resnet_repro.data import load_data
from resnet_repro.data.photos import read
from resnet_repro.settings.evaluation import EvaluationConfig

ONE = EvaluationConfig(protocol="one_crop", sizes=[40], crop=32, batch_size=5)
TEN = EvaluationConfig(protocol="ten_crop", sizes=[40], crop=32, batch_size=50)
SCALES = EvaluationConfig(protocol="multi_scale", sizes=[24, 40, 64], crop=32, batch_size=5)


def slowly(network, settings, inputs, views_of):
    """One image at a time, one view at a time: the mean of the softmax."""
    photos, scores = load_data(settings.data).test, []
    for index in range(len(photos)):
        probabilities = [
            network(inputs.normalise(view[None])).softmax(dim=1)[0]
            for view in views_of(read(photos, index))
        ]
        scores.append(torch.stack(probabilities).mean(dim=0))
    return torch.stack(scores)


def same(view):
    return view


VIEWS = {
    ONE.key: (ONE, lambda x: [v2.CenterCrop(32)(v2.Resize(40)(x))]),
    TEN.key: (
        TEN,
        lambda x: [f(crop) for crop in v2.FiveCrop(32)(v2.Resize(40)(x)) for f in (tv.hflip, same)],
    ),
    SCALES.key: (SCALES, lambda x: [v2.Resize(size)(x) for size in (24, 40, 64)]),
    "flip": (
        replace(SCALES, flip=True),
        lambda x: [f(v2.Resize(s)(x)) for s in (24, 40, 64) for f in (tv.hflip, same)],
    ),
}
