"""Classification, the task of most runs, and the choice of a run's task."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.data import Feed, Inputs, load_data, make_feed
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.classification import Counts
from resnet_repro.engine.evaluate import Classifier, evaluate_model
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.initial import load_needed
from resnet_repro.engine.step import Step
from resnet_repro.engine.task import Task
from resnet_repro.models import build_model
from resnet_repro.plan import Run


class Classification(Task):
    """Image classification."""

    def build(self) -> nn.Module:
        return build_model(self.run.config.model)

    def start(self, model: nn.Module) -> None:
        load_needed(model, self.run, self.results)

    def load(self) -> Any:  # noqa: ANN401
        return load_data(self.run.config.data)

    def feed(self, data: Any, inputs: Inputs | None) -> Feed:  # noqa: ANN401
        config, execution = self.run.config, self.execution
        return make_feed(data, config, execution.device, self.group, inputs, execution.kernels)

    def step(self, model: nn.Module, feed: Feed, optimizer: SGD) -> Callable[..., Tensor]:
        return Step(model, optimizer, self.run.config.recipe.bn_batch, self.execution, self.group)

    def tester(
        self, model: nn.Module, feed: Feed, stream: torch.cuda.Stream | None = None
    ) -> Callable[[], Counts]:
        config = self.run.config
        # Views of photographs have too many shapes, each of whose graphs would take memory.
        stream = None if config.data.is_streamed else stream
        classifier, quick = Classifier(model, self.execution, stream), config.quick_test()
        return lambda: evaluate_model(classifier, feed, quick, self.stop, self.group)


def make_task(
    run: Run, folder: Path, execution: Execution, group: Group, stop: Flag | None
) -> Task:
    """Return the task of a run; arguments as for `Task`."""
    if run.config.detector.localises:
        from resnet_repro.engine.localisation.task import Localisation  # imports torchvision

        return Localisation(run, folder, execution, group, stop)
    if run.config.detector.is_used:
        from resnet_repro.engine.detection.task import Detection  # imports torchvision

        return Detection(run, folder, execution, group, stop)
    return Classification(run, folder, execution, group, stop)
