"""Small sets of photographs."""

import io

import numpy as np
from PIL import Image

from resnet_repro.data import load_data, make_feed
from resnet_repro.settings.recipe import PhotoConfig
from tests.support.training import CPU

SCALE = PhotoConfig(scale=[48, 80], pca=0.1)


def picture(width, height, seed=0):
    """Return a smooth random picture, as a photograph is."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def write_set(root, num_classes=3, num_train=8, num_test=4):
    for part, number in (("train", num_train), ("val", num_test)):
        for label in range(num_classes):
            folder = root / part / f"n{label:08d}"
            folder.mkdir(parents=True)
            for i in range(number):
                size = (60 + 7 * i, 50 + 5 * label)
                content = jpeg(picture(*size, seed=100 * label + i + 1000 * (part == "val")))
                (folder / f"{i}.JPEG").write_bytes(content)


def feed_of(settings, **options):
    return make_feed(load_data(settings.data), settings, CPU, **options)
