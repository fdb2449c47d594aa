"""A job of a cluster, as `status` shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """A job in a cluster's queue, or running.

    Attributes:
        id: The cluster's id; `4711_3` is number 3, counted from 0, of the array 4711.
        state: The cluster's name of the state: `PENDING`, `RUNNING`, ...
        reason: The cluster's reason why the job waits; empty if it does not.
    """

    id: str
    state: str
    reason: str

    def __str__(self) -> str:
        return f"job {self.id} {self.state}" + (f", {self.reason}" if self.reason else "")
