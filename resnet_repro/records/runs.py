"""How far the runs of a plan are: the one look at their folders."""

from dataclasses import dataclass
from pathlib import Path

from resnet_repro.plan import Ensemble, Row, Run
from resnet_repro.records import DamagedError, Event, Record
from resnet_repro.records.folders import run_folders


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes:
        folder: Where its files are, or will be.
        state: `waiting`, `stopped`, `failed`, `damaged` (a file of it cannot be read), `trained`
            (and not tested by its protocol yet), `diverged` or `done`.
        iteration: Iterations done; None where a file is damaged.
        is_running: Whether a process is in it.
        events: Of its record.
        tests: The names of its tests, `responses` among them.
    """

    folder: Path
    state: str
    iteration: int | None
    is_running: bool = False
    events: tuple[Event, ...] = ()
    tests: frozenset[str] = frozenset()

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.state in ("done", "diverged")

    @property
    def is_finished(self) -> bool:
        """Whether the network is trained to the end and its weights can be used."""
        return self.is_trained and self.state != "diverged"

    @property
    def is_trained(self) -> bool:
        """Whether its training has ended."""
        return self.is_done or self.state == "trained"


def run_state(run: Run, results: Path) -> RunState:
    """Return how far a run is; its files are read once.

    Args:
        run: Which.
        results: The output root.
    """
    folder = run_folder(run, results)
    record = Record(folder)
    try:
        record.environment()  # the table needs it too
        events, tests = record.events(run.config.recipe.iterations), frozenset(record.evaluations())
        iteration = record.iteration(events)
    except DamagedError:
        return RunState(folder, "damaged", None, record.is_running())
    state = _state(run, events[-1]["event"] if events else "", tests, folder)
    return RunState(folder, state, iteration, record.is_running(), tuple(events), tests)


def _state(run: Run, last: str, tests: frozenset[str], folder: Path) -> str:
    if last == "diverged":
        return last
    if last == "finished":
        evaluation = run.config.evaluation
        wanted = {evaluation.key, "responses"} if evaluation.responses else {evaluation.key}
        return "done" if wanted <= tests else "trained"
    if last == "error":
        return "failed"
    return "stopped" if folder.is_dir() else "waiting"


def run_folder(run: Run | Ensemble, results: Path) -> Path:
    """Return where a run lives: the same run may have been trained under another row's name."""
    runs = results / "runs"
    if isinstance(run, Run) and not (runs / run.id).is_dir():
        return runs / run_folders(runs).get(run.seed, {}).get(run.digest, run.id)
    return runs / run.id


def recorded_seeds(row: Row, results: Path) -> list[int]:
    """Return the seeds of a row's runs that have a folder, asked for or not."""
    there = run_folders(results / "runs")
    return sorted(seed for seed, found in there.items() if row.run(seed).digest in found)
