"""The runs that share a machine, taken by its processes one after the other, and evenly."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch.multiprocessing import get_context

from resnet_repro.plan import Run

QueuedRun = tuple[Run, Path]


def shared_counts(num_workers: int) -> Any:  # noqa: ANN401
    """Return the counts that the queues of several processes share (see `JobQueue`)."""
    return get_context("spawn").Array("i", 1 + num_workers)


class JobQueue:
    """Runs in the order in which they start, each of which one process takes.

    A process takes a further run only if no other has fewer at work: 4 runs on 3 GPUs become 2, 1
    and 1. One that has no room for more does not hold the others back.

    Args:
        jobs: The runs and their folders, in the same order in every process.
        counts: The number of runs taken, then the number at work in each process, in shared memory;
            None if only this process takes runs.
        worker: The number of this process, from 0.
    """

    def __init__(
        self,
        jobs: list[QueuedRun],
        counts: Any = None,  # noqa: ANN401
        worker: int = 0,
    ) -> None:
        self._jobs = jobs
        self._counts = [0, 0] if counts is None else counts
        self._lock = nullcontext() if counts is None else counts.get_lock()
        self._own = 1 + worker  # the place of this process in the counts

    def num_left(self) -> int:
        """Return the number of runs that no process has taken, for each process."""
        return -(-(len(self._jobs) - self._counts[0]) // (len(self._counts) - 1))

    def next_job(self, num_at_work: int) -> QueuedRun | None:
        """Return the run that this process may take next; None if there is none, or not yet.

        Args:
            num_at_work: The number of runs at work in this process; without any, it need not wait
                for others.
        """
        with self._lock:
            self._counts[self._own] = num_at_work
            taken, *at_work = self._counts[:]
        if taken == len(self._jobs) or num_at_work > min(at_work):
            return None
        return self._jobs[taken]

    def take(self, job: QueuedRun) -> bool:
        """Take the run that `next_job` returned; return whether no other process was faster."""
        with self._lock:
            taken = self._counts[0]
            if taken == len(self._jobs) or self._jobs[taken] is not job:
                return False
            self._counts[0] += 1
            self._counts[self._own] += 1
        return True

    def hold(self) -> None:
        """Let the others go on without this process, which has no room until a run ends."""
        with self._lock:
            self._counts[self._own] = len(self._jobs)
