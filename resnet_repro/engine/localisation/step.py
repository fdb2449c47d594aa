"""One SGD step of localisation on a mini-batch, or on this process's share of it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.detection.localisation.feed import ClassSample
from resnet_repro.detection.localisation.losses import class_loss, num_wrong
from resnet_repro.detection.localisation.networks import ClassProposer, ClassRegions
from resnet_repro.detection.losses import ANCHOR_BETA, REGION_BETA
from resnet_repro.distributed.group import Group
from resnet_repro.engine.execution import Execution


class ClassLoss(nn.Module):
    """The loss of a mini-batch: of the sampled anchors of crops, or of warped regions.

    Args:
        network: The network.
        execution: The way the network is computed.
    """

    def __init__(self, network: ClassProposer | ClassRegions, execution: Execution) -> None:
        super().__init__()
        self.network, self._execution = network, execution

    def forward(self, samples: Sequence[ClassSample], images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a photograph and the number of samples that are wrong."""
        device, network = images.device, self.network
        numbers = torch.tensor([len(sample.is_object) for sample in samples])
        image_of = torch.arange(len(samples)).repeat_interleave(numbers)
        labels = torch.tensor([sample.label for sample in samples])[image_of].to(device)
        is_object = torch.cat([sample.is_object for sample in samples]).to(device)
        aims = torch.cat([sample.deltas for sample in samples]).to(device)
        with self._execution.autocast:
            images = self._execution.to_memory_format(images)
            if isinstance(network, ClassProposer):
                places = torch.cat([sample.places for sample in samples]).to(device)
                hidden = network.hidden(images)
                logits, deltas = network.proposer.at(hidden, image_of.to(device), places, labels)
                beta = ANCHOR_BETA
            else:
                logits, deltas = network(images, labels)
                beta = REGION_BETA
        loss = class_loss(logits, deltas, is_object, aims, numbers.to(device), beta)
        return loss, num_wrong(logits, is_object)


def make_step(
    network: ClassProposer | ClassRegions,
    optimizer: SGD,
    execution: Execution,
    group: Group,
    samples: int,
) -> Callable[..., Tensor]:
    """Return the computation of an iteration: forward, backward and update.

    Args:
        network: The network, in training mode, on its device.
        optimizer: The optimizer of its weights.
        execution: The way the network is computed.
        group: The processes that share the mini-batch.
        samples: Number of anchors or regions that stand for a photograph in the sums.

    Returns:
        A function of the iteration, this process's samples and their inputs, which returns (2,), on
        the device: the loss and the errors, summed as `Task.step` has it.
    """
    loss_of = group.parallel(ClassLoss(network, execution), execution.device)

    def step(_: int, given: Sequence[ClassSample], images: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss, wrong = loss_of(given, images)
        loss.backward()
        optimizer.step()
        return torch.stack([loss.detach() * len(given) * samples, wrong.float()])

    return step
