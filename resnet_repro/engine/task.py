"""The task of a run: what `train_stepwise` asks of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.data import Inputs
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.classification import Counts
from resnet_repro.engine.execution import Execution, draws_numbers
from resnet_repro.plan import Run


class Task(ABC):
    """What a run trains a network for.

    Args:
        run: The run.
        folder: The run's folder; the runs that it needs are next to it.
        execution: The way the network is computed.
        group: The processes that train it.
        stop: Whether a stop was requested; None where nothing can request one.

    Attributes:
        samples: What is classified per image of a mini-batch: the image itself, or parts of it.
    """

    samples = 1

    def __init__(
        self, run: Run, folder: Path, execution: Execution, group: Group, stop: Flag | None
    ) -> None:
        self.run, self.folder, self.execution = run, folder, execution
        self.group, self.stop = group, stop

    @property
    def results(self) -> Path:
        """The output root."""
        return self.folder.parent.parent

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network, newly initialised, on the CPU."""

    @abstractmethod
    def start(self, model: nn.Module) -> None:
        """Load what a new run starts from, if it needs other runs."""

    @abstractmethod
    def load(self) -> Any:  # noqa: ANN401 - `data.AnyData`, or a detector's
        """Return the data set; it has `train`, `test` and `checksum()`."""

    @abstractmethod
    def feed(self, data: Any, inputs: Inputs | None) -> Any:  # noqa: ANN401
        """Return the feed of mini-batches; it has what `train_stepwise` uses of `data.Feed`."""

    @abstractmethod
    def step(self, model: nn.Module, feed: Any, optimizer: SGD) -> Callable[..., Tensor]:  # noqa: ANN401
        """Return a function that takes a step on a batch's inputs and returns (2,): loss, errors.

        The loss is summed over images, the errors over the samples of each, of this process.
        """

    @abstractmethod
    def tester(
        self,
        model: nn.Module,
        feed: Any,  # noqa: ANN401
        stream: torch.cuda.Stream | None = None,
    ) -> Callable[[], Counts]:
        """Return a function that tests the network as while training."""

    @property
    def tests_in_full(self) -> bool:
        """Whether the last test while training counts as a test by its protocol."""
        return True

    @property
    def draws_numbers(self) -> bool:
        """Whether the network draws random numbers in training."""
        return draws_numbers(self.run.config.model)
