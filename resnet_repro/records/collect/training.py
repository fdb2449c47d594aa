"""What a run's folder tells of its training, and whether two folders tell of the same one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_repro.records import MEASURED, WALL_SPEED, Event, Record
from resnet_repro.records.collect.source import CHECKPOINT

# Of measurements, what differs between machines that train the same weights.
OF_MACHINE = ("images_per_second", WALL_SPEED)


@dataclass(frozen=True)
class Training:
    """A run as far as it is.

    Attributes:
        folder: Where it is recorded.
        end: Its last event, where that is `finished` or `diverged`.
        iteration: Iterations done and kept.
        checkpoint: The iteration of the checkpoint that is there; -1 where there is none.
        measured: What was measured up to `iteration`, by what it is of.
        tests: Of the finished network, by protocol.
        sessions: In which it was trained.
        num_events: All lines of the record.
    """

    folder: Path
    end: Event | None
    iteration: int
    checkpoint: int
    measured: dict[tuple[Any, ...], Event]
    tests: dict[str, dict[str, Any]]
    sessions: list[dict[str, Any]]
    num_events: int

    @property
    def progress(self) -> tuple[bool, int]:
        """How far it is; of two, the larger one is further."""
        return self.end is not None, self.iteration

    def __str__(self) -> str:
        return f"{self.end['event'] if self.end else 'stopped'} at iteration {self.iteration}"


def read_training(folder: Path) -> Training:
    """Read the folder of a run.

    Raises:
        DamagedError: A file of it cannot be read.
    """
    record = Record(folder)
    events = record.events()
    end = events[-1] if events and events[-1]["event"] in ("finished", "diverged") else None
    iteration = record.iteration(events)
    measured = {
        (each["event"], each["iteration"], each.get("num_images"), each.get("protocol")): {
            # Several processes that were stopped add their losses in another order.
            key: float(f"{value:.5g}") if key == "loss" else value
            for key, value in each.items()
            if key not in OF_MACHINE
        }
        for each in events
        if each["event"] in MEASURED and each["iteration"] <= iteration
    }
    return Training(
        folder=folder,
        end=end,
        iteration=iteration,
        checkpoint=(record.saved() or 0) if (folder / CHECKPOINT).is_file() else -1,
        measured=measured,
        tests=record.evaluations(),
        sessions=record.environment(),
        num_events=len(events),
    )


def contradiction(one: Training, other: Training) -> str | None:
    """Return why two folders are of different trainings of a run; None where they agree."""
    for key in sorted(one.measured.keys() & other.measured.keys(), key=lambda each: each[1]):
        ours, theirs = one.measured[key], other.measured[key]
        if ours != theirs:
            name = next(k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k))
            what = f"{name} {ours.get(name)} and {theirs.get(name)}"
            return f"other numbers at iteration {key[1]} ({key[0]}: {what})"
    is_beyond = (one.end and other.iteration > one.iteration) or (
        other.end and one.iteration > other.iteration
    )
    if is_beyond or (one.end and other.end and one.end["event"] != other.end["event"]):
        return f"{one} and {other}"
    if one.end and other.end and one.end["weights"] != other.end["weights"]:
        return f"other weights ({one.end['weights'][:8]} and {other.end['weights'][:8]})"
    return other_test(one.tests, other.tests)


def other_test(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> str | None:
    """Return which test has different results in two folders; None where none has."""
    differing = [key for key in ours if key in theirs and ours[key] != theirs[key]]
    return f"other results of {differing[0]}" if differing else None
