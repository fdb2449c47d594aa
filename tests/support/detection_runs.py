"""Runs of small detectors on small photographs: coloured squares on noise, in seconds."""

import io
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine.signals import Stop
from resnet_repro.engine.train import train_stepwise
from resnet_repro.plan import Run
from resnet_repro.records import Record
from resnet_repro.records.runs import run_folder
from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.data import BoxesConfig, DataConfig, GenerateConfig
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.recipe import RecipeConfig
from resnet_repro.settings.run import RunConfig
from tests.support.scenes import annotation, write_voc, xml_object

SIZES = ((64, 48), (48, 64), (56, 56), (72, 48))  # widths and heights
NUM_TRAIN, NUM_TEST = 10, 5
COLOURS = {"red": (230, 40, 40), "blue": (40, 40, 230)}


def squares(number):
    """Return a photograph's JPEG and its annotation."""
    draw = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    pixels = draw.integers(90, 130, (height, width, 3), dtype=np.uint8)
    objects = []
    for _ in range(1 + number % 3):
        side = int(draw.integers(14, 30))
        x, y = int(draw.integers(0, width - side)), int(draw.integers(0, height - side))
        name = list(COLOURS)[int(draw.integers(2))]
        pixels[y : y + side, x : x + side] = COLOURS[name]
        objects.append(xml_object(name, x + 1, y + 1, x + side, y + side))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue(), annotation(*objects, width=width, height=height)


def write_squares(root):
    """Write ten photographs to train on and five to test on; `one` is the first of the latter."""
    names = [f"{number:06}" for number in range(NUM_TRAIN + NUM_TEST)]
    made = {name: squares(number) for number, name in enumerate(names)}
    test = names[NUM_TRAIN:]
    write_voc(
        root,
        {"trainval": names[:NUM_TRAIN], "test": test, "one": test[:1]},
        {name: text for name, (_, text) in made.items()},
        {f"{name}.jpg": content for name, (content, _) in made.items()},
    )


def settings(root, step="joint", **changes) -> RunConfig:
    """Return the settings of a detector's run; changes are fields of sections."""
    config = RunConfig(
        model=ModelConfig(
            name="imagenet_resnet", depth=18, shortcut="B", width=8, num_classes=2
        ),
        data=DataConfig(
            name="voc",
            title="squares",
            root=str(root),
            image_size=64,
            num_classes=2,
            boxes=BoxesConfig(train=["trainval"], test=["test"], longest=96),
        ),
        recipe=RecipeConfig(
            iterations=6, batch_size=2, lr=0.01, lr_drops=[4], weight_decay=1e-3, flip=True,
            decayed="all",
        ),
        evaluation=EvaluationConfig(protocol="boxes", sizes=[64], every=3, num_proposals=20),
        compute=ComputeConfig(device="cpu", log_every=2, workers=1),
        detector=DetectorConfig(
            step=step, anchors=[1.0, 2.0], min_size=2.0, num_proposals=30, sampled_anchors=32,
            sampled_regions=16,
        ),
    )  # fmt: skip
    return replace(
        config, **{name: replace(getattr(config, name), **new) for name, new in changes.items()}
    )


def classifier(**recipe) -> Run:
    """Return the run of the classifier that detectors start from."""
    config = RunConfig(
        model=ModelConfig(
            name="imagenet_resnet", depth=18, shortcut="B", width=8, num_classes=10
        ),
        data=DataConfig(
            name="synthetic",
            title="synthetic",
            image_size=32,
            num_classes=10,
            generate=GenerateConfig(num_train=32, num_test=10),
        ),
        recipe=RecipeConfig(**{"iterations": 3, "batch_size": 16, "lr": 0.05, **recipe}),
        evaluation=EvaluationConfig(every=3),
        compute=ComputeConfig(device="cpu"),
    )  # fmt: skip
    return Run("net classification", config)


def chain(root, **changes) -> dict[str, Run]:
    """Return the runs of a detector that is trained in steps, by step, and of a joint one."""
    first = classifier()
    proposals = Run("net proposals", settings(root, "proposals", **changes), (first,))
    return {
        "classification": first,
        "proposals": proposals,
        "regions": Run("net", settings(root, "regions", **changes), (first, proposals)),
        "joint": Run("joint", settings(root, "joint", **changes), (first,)),
    }


def with_fields(run, **changes):
    """Return a run with fields of sections changed."""
    sections = {name: replace(getattr(run.config, name), **new) for name, new in changes.items()}
    return replace(run, config=replace(run.config, **sections))


def train(run, results, stop=None, group=SINGLE_PROCESS):
    """Train a run in an output root; return its folder."""
    folder = run_folder(run, results)
    for _ in train_stepwise(run, folder, group, stop or Stop()):
        pass
    return folder


def weights(folder):
    return torch.load(folder / "last.pt")["model"]


def end(folder):
    return Record(folder).events()[-1]


def equal_names(ours, theirs):
    """Return the names of the tensors that are bit-equal in two state dicts."""
    return {n for n in ours.keys() & theirs.keys() if torch.equal(ours[n], theirs[n])}


class StopAfter(Stop):
    """A stop that is requested when it was asked for some times.

    Args:
        times: How often it is not set.
    """

    def __init__(self, times):
        super().__init__()
        self.left = times

    def is_set(self):
        self.left -= 1
        return self.left < 0
