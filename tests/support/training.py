"""Training without the command line, and what is compared of it."""

from dataclasses import replace

import pytest
import torch

from resnet_repro.data import load_data, make_feed
from resnet_repro.engine import train as engine
from resnet_repro.engine.cuda_graph import GraphedCallable
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.optim import build_optimizer, set_learning_rate
from resnet_repro.engine.step import Step
from resnet_repro.engine.streams import capture_stream
from resnet_repro.models import build_model
from resnet_repro.plan import Run
from resnet_repro.records import WALL_SPEED, Record
from resnet_repro.settings.recipe import RecipeConfig

CPU = torch.device("cpu")
EAGER = Execution(CPU, torch.autocast("cpu", enabled=False))
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=(pytest.mark.gpu, GPU))]  # of `parametrize`
RECIPE = RecipeConfig(iterations=64000, batch_size=128, lr=0.1, lr_drops=[32000, 48000])


def losses(config, how, iterations, *, lr=0.1, captured=False):
    """Train for some iterations; return the loss of each, and the weights."""
    torch.manual_seed(0)
    model = how.prepare(build_model(config.model)).train()
    optimizer = build_optimizer(model, config.recipe)
    feed = make_feed(load_data(config.data), config, how.device)
    step = Step(model, optimizer, config.recipe.bn_batch, how)
    totals = []
    with capture_stream(how.device, captured) as stream:
        iterate = GraphedCallable(lambda *batch: step(*feed.to_inputs(*batch)), stream)
        for number, batch in enumerate(feed.batches(0, iterations)):
            set_learning_rate(optimizer, lr if number < iterations // 2 else lr / 10)
            totals.append(iterate(*batch)[0].clone())
    return torch.stack(totals).cpu(), {k: v.cpu() for k, v in model.state_dict().items()}


def alike(ours, theirs, **tolerance):
    torch.testing.assert_close(ours[0], theirs[0], **tolerance)
    for name, tensor in theirs[1].items():
        torch.testing.assert_close(ours[1][name].contiguous(), tensor, **tolerance, msg=name)


def train(config, folder, seed=0):
    engine.train(Run("ResNet-8", replace(config, seed=seed)), folder)
    return Record(folder).events()


class PowerCutError(Exception):
    pass


def timeless(events):
    """Return events without what a clock says."""
    return [
        {k: v for k, v in e.items() if k not in ("images_per_second", WALL_SPEED, "seconds")}
        for e in events
    ]


def of(events, kind):
    return [event for event in events if event["event"] == kind]
