"""What the tasks on photographs with boxes have in common."""

from abc import abstractmethod
from typing import Any

from torch import nn

from resnet_repro.data import Inputs
from resnet_repro.detection.feed import SceneFeed
from resnet_repro.detection.scenes import SceneSets, load_scenes
from resnet_repro.detection.suppression import check_operators
from resnet_repro.engine.detection.restore import load_start, restore_network
from resnet_repro.engine.task import Task
from resnet_repro.settings.evaluation import EvaluationConfig


class SceneTask(Task):
    """A task on photographs with boxes.

    Attributes:
        reader: The feed's class.
    """

    reader: type[SceneFeed] = SceneFeed
    _inputs: Inputs | None = None  # of what a new run starts from

    def start(self, model: nn.Module) -> None:
        self._inputs = load_start(model, self.run, self.results, self.group, self.stop)

    def load(self) -> SceneSets:
        check_operators(self.execution.device)  # before the training, which may not use them
        return load_scenes(self.run.config.data)

    def feed(self, data: SceneSets, inputs: Inputs | None) -> SceneFeed:
        given = inputs or self._inputs
        assert given is not None, "a new run was started"
        return self.reader(data, self.run.config, self.group, self.execution.device, given)

    def restored(self, data: SceneSets) -> tuple[nn.Module, SceneFeed]:
        """Return the finished run's network, in eval mode on the device, and its feed.

        Errors are those of `load_final`.
        """
        network, inputs = restore_network(self.run, self.folder, self.execution)
        return network, self.feed(data, inputs)

    @abstractmethod
    def test(self, model: nn.Module, feed: Any, test: EvaluationConfig) -> dict[str, Any]:  # noqa: ANN401
        """Return the scores of a network by a protocol; it is in eval mode during the test."""
