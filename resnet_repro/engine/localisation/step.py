"""One SGD step of localisation on a mini-batch, or on this process's share of it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.detection.anchors import grid
from resnet_repro.detection.localisation.feed import ClassSample
from resnet_repro.detection.localisation.losses import class_loss, num_wrong
from resnet_repro.detection.localisation.networks import ClassProposer, ClassRegions
from resnet_repro.detection.losses import ANCHOR_BETA, REGION_BETA
from resnet_repro.detection.targets import anchor_targets, generator
from resnet_repro.distributed.group import Group
from resnet_repro.engine.execution import Execution
from resnet_repro.settings.run import RunConfig


class AnchorLoss(nn.Module):
    """The loss of a mini-batch of crops: the sampled anchors of each, for the image's class.

    Anchors may reach beyond the crop, as most that are as large as its objects do.

    Args:
        network: The network.
        config: The run's settings.
        execution: The way the network is computed.
    """

    def __init__(self, network: ClassProposer, config: RunConfig, execution: Execution) -> None:
        super().__init__()
        self.network, self._config, self._execution = network, config, execution

    def forward(
        self, iteration: int, samples: Sequence[ClassSample], images: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a sample and the number of wrong ones, scalars."""
        config, device = self._config.detector, images.device
        with self._execution.autocast:
            hidden = self.network.hidden(self._execution.to_memory_format(images))
        size = images.shape[-1]
        rows, columns = hidden.shape[-2:]
        anchors = grid(rows, columns, config.anchors)
        found = [
            anchor_targets(
                anchors,
                sample.boxes,
                size,
                size,
                config.sampled_anchors,
                generator(self._config.seed, iteration, sample.index, "anchors"),
                inside=False,
            )
            for sample in samples
        ]
        numbers = torch.tensor([len(each.indices) for each in found])
        images_of = torch.arange(len(samples)).repeat_interleave(numbers)
        labels = torch.tensor([sample.label for sample in samples])[images_of]
        places = torch.cat([each.indices for each in found])
        is_object = torch.cat([each.labels for each in found]) > 0
        aims = torch.cat([each.deltas for each in found])
        where = images_of.to(device), places.to(device), labels.to(device)
        with self._execution.autocast:
            logits, deltas = self.network.proposer.at(hidden, *where)
        is_object = is_object.to(device)
        loss = class_loss(logits, deltas, is_object, aims.to(device), ANCHOR_BETA)
        return loss.mean, num_wrong(logits, is_object)


class RegionLoss(nn.Module):
    """The loss of a mini-batch of warped regions; arguments as for `AnchorLoss`."""

    def __init__(self, network: ClassRegions, config: RunConfig, execution: Execution) -> None:
        super().__init__()
        self.network, self._execution = network, execution

    def forward(
        self, iteration: int, samples: Sequence[ClassSample], images: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a region and the number of wrong ones, scalars."""
        device = images.device
        numbers = torch.tensor([len(sample.is_object) for sample in samples])
        labels = torch.tensor([sample.label for sample in samples]).repeat_interleave(numbers)
        is_object = torch.cat([sample.is_object for sample in samples]).to(device)
        aims = torch.cat([sample.deltas for sample in samples]).to(device)
        with self._execution.autocast:
            regions = self._execution.to_memory_format(images)
            logits, deltas = self.network(regions, labels.to(device))
        loss = class_loss(logits, deltas, is_object, aims, REGION_BETA)
        return loss.mean, num_wrong(logits, is_object)


def make_step(
    network: ClassProposer | ClassRegions,
    optimizer: SGD,
    config: RunConfig,
    execution: Execution,
    group: Group,
    samples: int,
) -> Callable[..., Tensor]:
    """Return the computation of an iteration: forward, backward and update.

    Args:
        network: The network, in training mode, on its device.
        optimizer: The optimizer of its weights.
        config: The run's settings.
        execution: The way the network is computed.
        group: The processes that share the mini-batch.
        samples: Number of anchors or regions that stand for a photograph in the sums.

    Returns:
        A function of the iteration, this process's samples and their inputs, which returns (2,), on
        the device: the loss and the errors, summed as `Task.step` has it.
    """
    kind = AnchorLoss if isinstance(network, ClassProposer) else RegionLoss
    loss_of = group.parallel(kind(network, config, execution), execution.device)  # type: ignore[arg-type]

    def step(iteration: int, given: Sequence[ClassSample], images: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss, wrong = loss_of(iteration, given, images)
        loss.backward()
        optimizer.step()
        return torch.stack([loss.detach() * len(given) * samples, wrong.float()])

    return step
