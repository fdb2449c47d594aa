"""The state of a plan's runs, read from their folders."""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.plan import Ensemble, Row, Run
from resnet_repro.records import Event, Record
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.folders import run_folders


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        folder: The run's folder, which may not exist yet.
        state: `waiting`, `stopped`, `failed`, `damaged` (a file cannot be read), `trained` (but not
            yet tested by its protocol), `diverged` or `done`.
        iteration: The number of iterations done; None if a file is damaged.
        is_running: Whether a process is using the run.
        last: The last event of the run's record; None before there is one.
        train: The last measurement of the training while a process is using the run.
        tests: The keys of the run's tests, including `responses`.
    """

    folder: Path
    state: str
    iteration: int | None
    is_running: bool = False
    last: Event | None = None
    train: Event | None = None
    tests: frozenset[str] = frozenset()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("done", "diverged")

    @property
    def is_finished(self) -> bool:
        """Whether the network is trained to the end and its weights can be used."""
        return self.is_trained and self.state != "diverged"

    @property
    def is_trained(self) -> bool:
        """Whether the training has ended."""
        return self.is_done or self.state == "trained"


def run_state(run: Run, results: Path) -> RunState:
    """Return the state of a run, from the last event of its record.

    The other events are read and checked where they are needed: for the table, and to resume.

    Args:
        run: The run.
        results: The output root.
    """
    folder = run_folder(run, results)
    if not folder.is_dir():
        return RunState(folder, "waiting", 0)
    record, is_running = Record(folder), False
    try:
        is_running = record.is_running()
        record.environment()  # a table needs it, so damage counts
        last, tests = record.last(iterations=run.config.recipe.iterations), record.evaluations()
        iteration = record.iteration([last] if last else [])
        trained = record.last("train") if is_running else None
    except DamagedError:
        return RunState(folder, "damaged", None, is_running)
    state = _state(run, last["event"] if last else "", tests.keys())
    return RunState(folder, state, iteration, is_running, last, trained, frozenset(tests))


def _state(run: Run, last: str, tests: Set[str]) -> str:
    if last == "diverged":
        return last
    if last == "finished":
        evaluation = run.config.evaluation
        wanted = {evaluation.key, "responses"} if evaluation.responses else {evaluation.key}
        return "done" if wanted <= tests else "trained"
    if last == "error":
        return "failed"
    return "stopped"


def run_folder(run: Run | Ensemble, results: Path) -> Path:
    """Return the folder of a run or an ensemble, which may bear the name of another row."""
    runs, seed = results / "runs", run.seed if isinstance(run, Run) else None
    if (runs / run.id).is_dir():
        return runs / run.id
    return runs / run_folders(runs).get(seed, {}).get(run.digest, run.id)


def recorded_seeds(row: Row, results: Path) -> list[int]:
    """Return the seeds of all runs of a row that have a folder."""
    there = run_folders(results / "runs")
    seeds = (seed for seed in there if seed is not None)
    return sorted(seed for seed in seeds if row.run(seed).digest in there[seed])
