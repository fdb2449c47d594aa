"""The state of a run in training: its checkpoint, and the result at its end."""

import logging
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import SGD

from resnet_repro.distributed.group import Group
from resnet_repro.engine import checkpoint
from resnet_repro.engine.averages import averaged
from resnet_repro.engine.classification import Counts
from resnet_repro.engine.energy import Meter
from resnet_repro.engine.evaluate import decoded_by
from resnet_repro.engine.resume import Progress
from resnet_repro.engine.schedule import Schedule
from resnet_repro.engine.task import Task
from resnet_repro.plan import Run
from resnet_repro.records import Record

logger = logging.getLogger("resnet_repro")


@dataclass(frozen=True)
class OngoingRun:
    """A run in training; each of its processes calls the methods together with the others.

    Attributes:
        run: The run.
        record: Its record, which only the first process writes.
        group: The processes that train it.
        task: What its network is trained for.
        model: The network.
        optimizer: The network's optimizer.
        feed: The feed of mini-batches.
        progress: The progress so far.
        schedule: The state of the learning rate's schedule.
        meter: The meter of its energy.
    """

    run: Run
    record: Record
    group: Group
    task: Task
    model: nn.Module
    optimizer: SGD
    feed: Any
    progress: Progress
    schedule: Schedule
    meter: Meter

    def save(self) -> None:
        """Write the checkpoint; `resume.resume` restores it."""
        progress, schedule, feed, group = self.progress, self.schedule, self.feed, self.group
        feed.unreadable.update(group.all_gather_union(feed.unreadable))
        totals = group.all_reduce_sum(progress.totals.clone())
        errors = group.all_reduce_sum(schedule.errors.clone())
        progress.joules = self.meter.joules()
        with averaged(self.model, group) as own:
            if group.is_main:
                content: dict[str, Any] = {
                    "run": self.run.id,
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "progress": {**vars(progress), "totals": totals},
                    "schedule": {**vars(schedule), "errors": errors},
                    "inputs": vars(feed.inputs),
                    "unreadable": sorted(feed.unreadable),
                    **({"own_averages": own} if own else {}),
                }
                self.record.sync()
                checkpoint.save(self.record.folder, content)
                self.record.note_saved(progress.iteration)
        # A barrier: if one process exits early, torchrun and srun kill the others.
        group.all_reduce_any(False)

    def finish(self, counts: Counts, diverged: str | None) -> None:
        """Save the final weights and record the result.

        Args:
            counts: The last test's; empty if the run was killed between its last iteration and its
                record, and then the test is made again.
            diverged: Why the run has diverged, if it has.
        """
        self.save()
        record, progress, feed = self.record, self.progress, self.feed
        with averaged(self.model, self.group):
            weights = checkpoint.weights_hash(self.model)
            if not (counts or diverged):
                counts = self.task.tester(self.model, feed)()
        end = {"seconds": round(progress.seconds, 1), "weights": weights}
        if progress.joules:
            end["energy"] = round(progress.joules)
        if feed.unreadable:
            end["num_unreadable"] = len(feed.unreadable)
        if self.group.is_main:
            (record.folder / checkpoint.PREVIOUS).unlink(missing_ok=True)
        if diverged:
            record.append("diverged", progress.iteration, reason=diverged, **end)
            logger.warning("%s seed %d diverged: %s", self.run.row, self.run.seed, diverged)
            return
        config = self.run.config
        if self.task.tests_in_full:
            key, decoded = config.quick_test().key, decoded_by(config)
            record.add_evaluation(key, **counts, **decoded, weights=weights)
        record.append("finished", progress.iteration, **end)
