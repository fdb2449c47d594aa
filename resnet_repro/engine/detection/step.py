"""One SGD step of a detector on a mini-batch of photographs, or on this process's share of it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.detection.anchors import grid
from resnet_repro.detection.boxes import resized
from resnet_repro.detection.feed import Sample
from resnet_repro.detection.losses import proposal_loss, region_loss
from resnet_repro.detection.network import Detector
from resnet_repro.detection.proposer import proposals
from resnet_repro.detection.targets import (
    NEAR_AN_OBJECT,
    anchor_targets,
    generator,
    region_targets,
)
from resnet_repro.distributed.group import Group, without_sync
from resnet_repro.engine.execution import Execution
from resnet_repro.settings.run import RunConfig

JOINT_CANDIDATES = 12_000  # proposals before suppression in joint training, as py-faster-rcnn

# Proposals of another network for a sample, (m, 4), best first.
Proposals = Callable[[Sample], Tensor]


class DetectorLoss(nn.Module):
    """The loss of one photograph: what a step trains, as a module that processes can share.

    Args:
        detector: The detector.
        config: The run's settings.
        execution: The way the network is computed.
        given: Proposals of another network; None where the detector makes its own, or none.
    """

    def __init__(
        self, detector: Detector, config: RunConfig, execution: Execution, given: Proposals | None
    ) -> None:
        super().__init__()
        self.detector = detector
        self._config, self._execution, self._given = config, execution, given

    def forward(self, iteration: int, sample: Sample) -> tuple[Tensor, Tensor]:
        """Return the loss, and the share of sampled anchors or regions that is classified wrongly.

        Both are scalars on the device; with both parts trained, the share is that of regions.
        """
        config, detector = self._config, self.detector
        step, boxes_config = config.detector.step, config.data.boxes
        assert boxes_config is not None
        photograph = sample.photograph
        height, width, scale = resized(
            photograph.height, photograph.width, config.data.image_size, boxes_config.longest
        )
        image = self._execution.to_memory_format(photograph.image_at(height, width)[None])
        boxes = sample.boxes * scale
        loss = image.new_zeros(())
        seeds = (config.seed, iteration, sample.index)
        with self._execution.autocast:
            maps = detector.body(image)
            if step in ("proposals", "joint"):
                logits, deltas = (each[0] for each in detector.propose(maps))
        if step in ("proposals", "joint"):
            rows, columns = maps.shape[-2:]
            anchors = grid(rows, columns, config.detector.anchors, maps.device)
            targets = anchor_targets(
                anchors,
                boxes,
                height,
                width,
                config.detector.sampled_anchors,
                generator(*seeds, "anchors"),
            )
            loss = proposal_loss(logits, deltas, targets).mean
        if step == "proposals":
            return loss, _error(logits[targets.indices], targets.labels)
        if step == "joint":
            regions, _ = proposals(
                logits.detach(),
                deltas.detach(),
                anchors,
                height,
                width,
                config.detector.min_size * scale,
                JOINT_CANDIDATES,
                config.detector.num_proposals,
            )
        else:
            assert self._given is not None
            regions = self._given(sample)[: config.detector.num_proposals] * scale
        low, high = config.detector.background
        if not sample.exhaustive:
            low = max(low, NEAR_AN_OBJECT)
        sampled = region_targets(
            regions,
            boxes,
            sample.classes,
            config.detector.sampled_regions,
            (low, high),
            generator(*seeds, "regions"),
        )
        with self._execution.autocast:
            logits, deltas = self._classify(maps, sampled.boxes, height, width)
        return loss + region_loss(logits, deltas, sampled).mean, _error(logits, sampled.labels)

    def _classify(
        self, maps: Tensor, regions: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        whole = regions.new_tensor([[0, 0, width, height]])
        if self.detector.context:  # the whole photograph as one region more
            regions = torch.cat([regions, whole])
        numbered = torch.cat([regions.new_zeros(len(regions), 1), regions], dim=1)
        vectors, context = self.detector.pooled(maps, numbered), None
        if self.detector.context:
            vectors, context = vectors[:-1], vectors[-1:]
        image_of = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
        return self.detector.classify(vectors, context, image_of)


def _error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of wrong classes; 0 where nothing was sampled."""
    wrong = (logits.detach().argmax(dim=1) != labels).float()
    return wrong.sum() / max(1, len(labels))


class DetectorStep:
    """The computation of an iteration: forward and backward of each photograph, and the update.

    Photographs are computed one at a time, as each has its own size: nothing is padded. Gradients
    add up to those of the mean loss over all photographs of the mini-batch.

    Args:
        detector: The detector, in training mode, on its device.
        optimizer: The optimizer of its weights.
        config: The run's settings.
        execution: The way the network is computed.
        group: The processes that share the mini-batch.
        given: Proposals of another network for a sample, if the step needs them.
        samples: Number of anchors or regions that stand for a photograph in the sums.
    """

    def __init__(
        self,
        detector: Detector,
        optimizer: SGD,
        config: RunConfig,
        execution: Execution,
        group: Group,
        given: Proposals | None,
        samples: int,
    ) -> None:
        self._optimizer, self._samples = optimizer, samples
        loss = DetectorLoss(detector, config, execution, given)
        self._loss = group.parallel(loss, execution.device)
        self._device = execution.device

    def __call__(self, iteration: int, samples: Sequence[Sample]) -> Tensor:
        """Take the step.

        Args:
            iteration: The number of iterations done before.
            samples: This process's photographs.

        Returns:
            (2,), on the device: the loss and the share of errors, summed over photographs and times
            the number of samples of each, before the update.
        """
        self._optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(2, device=self._device)
        for number, sample in enumerate(samples, start=1):
            with without_sync(self._loss, wanted=number < len(samples)):
                loss, error = self._loss(iteration, sample)
                (loss / len(samples)).backward()
            totals += torch.stack([loss.detach(), error]) * self._samples
        self._optimizer.step()
        return totals
