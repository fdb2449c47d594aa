"""The record of a run: its folder, one line of JSON per measurement, and a lock.

    <id>/config.yaml        the settings, resolved
    <id>/environment.json   one entry per session: versions, machine, code, data, command
    <id>/record.jsonl       one JSON object per event, in order
    <id>/evaluations.json   the finished network's tests, one per protocol
    <id>/precision.json     of a detector, curves for a picture: see `curves`
    <id>/examples.json      of a detector, its best and worst detections: see `examples`
    <id>/last.pt            the last checkpoint; previous.pt is the one before; damaged.pt is a
                            last.pt that could not be used
    <id>/saved              the iteration of last.pt
    <id>/tensorboard/, <id>/run.log

Events: `train` and `test` (counts over a span of iterations, or over the test set), `warmup_end`,
`plateau`, and one that ends the run: `finished`, `diverged`, or `error` (retried next time).
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from resnet_repro.files import exclusive_lock, read_bytes, write_atomically
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.locks import is_locked, run_lock
from resnet_repro.records.schema import check_evaluations, check_event, check_sessions
from resnet_repro.strict_json import read_json

logger = logging.getLogger("resnet_repro")

Event = dict[str, Any]
MEASURED = ("train", "test", "warmup_end", "plateau")
WALL_SPEED = "wall_images_per_second"  # of a `train` event, where runs share a device
TESTS_LOCK = ".tests.lock"
LAST_BYTES = 2**14  # of a record, in which its last events are: a hundred lines
State = Literal["new", "unfinished", "failed", "finished"]


class Record:
    """The folder of a run.

    Args:
        folder: The folder `<results>/runs/<id>`; created at the first write.
        writes: Whether this process writes; of the processes that train a run only one does.
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self.folder, self.writes = folder, writes
        self._path = folder / "record.jsonl"

    def append(self, event: str, iteration: int, **values: Any) -> None:  # noqa: ANN401
        """Add one event, at the number of iterations done.

        It survives a power cut at once, or, if it is a `train` event, once `sync` was called.
        """
        if not self.writes:
            return
        line = _line({"event": event, "iteration": iteration, **values})
        self._drop_torn_line()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            if event != "train":  # a disk may take many iterations for it
                os.fsync(file.fileno())

    def sync(self) -> None:
        """Flush all events to disk: a checkpoint must never be ahead of its record."""
        if self.writes:
            with self._path.open("ab") as file:
                os.fsync(file.fileno())

    def _drop_torn_line(self) -> None:
        """Remove a last line that a crash left incomplete."""
        if (read_bytes(self._path, 1) or b"\n") != b"\n":
            os.truncate(self._path, (read_bytes(self._path) or b"").rfind(b"\n") + 1)

    def events(self, iterations: int | None = None) -> list[Event]:
        """Return all events in order, without a last line that a crash left incomplete.

        Args:
            iterations: The run's number of iterations, if known: no event may be later.

        Raises:
            DamagedError: A line is damaged, or has an impossible value.
        """
        events: list[Event] = []
        for number, line in enumerate(self._read(self._path).split(b"\n")[:-1], start=1):
            try:
                event = _event(line, iterations)
                if events and event["iteration"] < events[-1]["iteration"]:
                    raise ValueError(
                        f"iteration is {event['iteration']}, after {events[-1]['iteration']}"
                    )
            except ValueError as error:
                raise _damaged(self._path, error, line=number) from error
            events.append(event)
        return events

    def last(self, kind: str | None = None, iterations: int | None = None) -> Event | None:
        """Return the last event, reading only the end of the record.

        Args:
            kind: Only this kind of event; one that is far from the end is not found.
            iterations: The run's number of iterations, where it is known: no event is later.

        Raises:
            DamagedError: Its line is damaged, or has an impossible value.
        """
        size, whole = LAST_BYTES, list[bytes]()
        while not whole:
            content = self._read(self._path, size)
            lines = content.split(b"\n")[:-1]
            whole = lines if len(content) < size else lines[1:]
            if len(content) < size:
                break
            size *= 16  # the last line is a long one
        for line in reversed(whole):
            try:
                event = _event(line, iterations)
            except ValueError as error:
                raise _damaged(self._path, error) from error
            if kind in (None, event["event"]):
                return event
        return None

    def last_test(self) -> int | None:
        """Return the iteration of the last test while training; None if there is none."""
        tests = [event["iteration"] for event in self.events() if event["event"] == "test"]
        return tests[-1] if tests else None

    def rewind(self, iteration: int) -> None:
        """Remove the events after `iteration`, where the run resumes, and its final event."""
        if not self.writes:
            return
        kept = [e for e in self.events() if e["event"] in MEASURED and e["iteration"] <= iteration]
        write_atomically(self._path, "".join(map(_line, kept)))

    def iteration(self, events: Sequence[Event] | None = None) -> int:
        """Return the number of iterations done: saved or, while a process runs it, measured.

        A run that was stopped repeats the iterations after its last checkpoint.

        Args:
            events: The record's events, if they have been read.
        """
        known = self.events() if events is None else events
        last: Event = known[-1] if known else {"event": "", "iteration": 0}
        if last["event"] in ("finished", "diverged") or self.is_running():
            return int(last["iteration"])
        return self.saved() or 0

    def saved(self) -> int | None:
        """Return the iteration of the last checkpoint as it was noted; None where none was."""
        noted = b""
        with suppress(OSError):
            noted = read_bytes(self.folder / "saved") or b""
        if not noted:
            return None
        return int(noted[:20]) if noted[:20].strip().isdigit() else 0

    def lost_checkpoint(self) -> int | None:
        """Return the iteration of a checkpoint that was saved and is missing; None if none is."""
        return None if self._has_checkpoint() else self.saved() or None

    def was_saved(self) -> bool:
        """Return whether a checkpoint was ever saved."""
        return self._has_checkpoint() or self.saved() is not None

    def _has_checkpoint(self) -> bool:
        return any((self.folder / name).exists() for name in ("last.pt", "previous.pt"))

    def note_saved(self, iteration: int) -> None:
        """Write down the iteration of the last checkpoint."""
        if self.writes:
            write_atomically(self.folder / "saved", f"{iteration}\n")

    def state(self) -> State:
        """Return the run's state."""
        events = self.events()
        last = events[-1]["event"] if events else None
        if last in ("finished", "diverged"):
            return "finished"
        return "failed" if last == "error" else "unfinished" if self.folder.is_dir() else "new"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run against other processes; a process that dies releases its lock.

        Raises:
            LockedError: Another process is using the run.
        """
        if not self.writes:
            yield
            return
        with run_lock(self.folder):
            yield

    def is_running(self) -> bool:
        """Return whether a process is using the run.

        Raises:
            DamagedError: The folder belongs to somebody else, and cannot be read.
        """
        return is_locked(self.folder)

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """Return the finished network's tests by `EvaluationConfig.key`: counts and details."""
        return dict(self._read_json("evaluations.json", {}, check_evaluations))

    def add_evaluation(self, key: str, /, **values: Any) -> None:  # noqa: ANN401
        """Add a test of the finished network; it replaces one by the same protocol."""
        if not self.writes:
            return
        check_evaluations({key: values})
        with exclusive_lock(self.folder / TESTS_LOCK):  # tests do not hold the run's own lock
            self._write_json("evaluations.json", {**self.evaluations(), key: values})

    def environment(self) -> list[dict[str, Any]]:
        """Return the sessions in which the run was trained, first to last."""
        return list(self._read_json("environment.json", [], check_sessions))

    def first_session(self, on_cpu: bool) -> dict[str, Any] | None:
        """Return the first session on a CPU, or on other devices.

        A resumed run takes its settings from that session, to stay bit-identical on such a device.
        """
        if not self.was_saved():  # it starts anew
            return None
        fits = (s for s in self.environment() if (s.get("device", "cpu") == "cpu") == on_cpu)
        return next(fits, None)

    def add_session(self, session: dict[str, Any]) -> None:
        """Add the machine, code and data of a session; it replaces those that saved nothing."""
        if self.writes:
            sessions = [*(self.environment() if self.was_saved() else []), session]
            check_sessions(sessions)
            self._write_json("environment.json", sessions)

    def _read_json(self, name: str, default: Any, check: Callable[[Any], None]) -> Any:  # noqa: ANN401
        path = self.folder / name
        content = self._read(path)
        if not content:
            if path.exists():
                raise _damaged(path, "it is empty")
            return default
        try:
            value = read_json(content)
            check(value)
        except ValueError as error:
            raise _damaged(path, error) from error
        return value

    def _read(self, path: Path, last: int | None = None) -> bytes:
        try:
            return read_bytes(path, last) or b""
        except OSError as error:
            raise _damaged(path, error.strerror or error) from error

    def _write_json(self, name: str, content: Any) -> None:  # noqa: ANN401
        write_atomically(self.folder / name, json.dumps(content, indent=1, allow_nan=False))


def _event(line: bytes, iterations: int | None) -> Event:
    event = read_json(line)
    check_event(event)
    if iterations is not None and event["iteration"] > iterations:
        raise ValueError(f"iteration is {event['iteration']}, of {iterations}")
    return dict(event)


def _line(event: Event) -> str:
    check_event(event)
    return json.dumps(event, allow_nan=False) + "\n"


def _damaged(path: Path, why: object, line: int | None = None) -> DamagedError:
    at = f" at line {line}" if line else ""
    return DamagedError(
        f"{path} is damaged{at} ({why}): restore it from a backup, or delete the run's folder to "
        f"train it again"
    )
