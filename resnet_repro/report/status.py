"""The list of experiments, and the progress of each run."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import ListConfig

from resnet_repro.errors import nearest, require
from resnet_repro.plan import Plan, Run, with_needs
from resnet_repro.records import WALL_SPEED, Record
from resnet_repro.records.jobs import Job
from resnet_repro.records.results import recorded_ids
from resnet_repro.records.runs import run_state
from resnet_repro.report.coverage import coverage_text, published_rows
from resnet_repro.report.published import published_errors, published_summary
from resnet_repro.text import markdown

logger = logging.getLogger("resnet_repro")

# Tells why the last jobs of runs ended, by the runs' digests.
Ended = Callable[[Collection[str]], dict[str, str]]

# By which runs are counted, and selected with `state=`.
STATES = ("done", "diverged", "trained", "running", "queued", "waiting", "stopped", "failed",
          "damaged")  # fmt: skip
WITHOUT_PROCESS = ("waiting", "stopped", "failed", "trained", "damaged")


@dataclass(frozen=True)
class Experiment:
    """An entry in the list of experiments.

    Attributes:
        experiment: The experiment's name.
        paper: The paper, such as `He15`; None for an experiment of our own.
        where: Table or figure of the paper, such as `Table 6`.
        title: The table's title.
        rows: Number of rows that can be run.
        runs: Number of runs of these rows.
        done: Number of runs that are done here.
        recorded: Number of runs that are in the file of records, with those that they started from.
        numbers: The paper's rows that the experiment has, by their key in `papers.yaml`: `run`,
            `cited`, or a note on where they are or why they cannot be had.
        published: Published values of the table's first measure for each row, test errors in most
            tables: %, one per seed; null for a failed run.
    """

    experiment: str
    paper: str | None
    where: str
    title: str
    rows: int
    runs: int
    done: int
    recorded: int
    numbers: dict[str, str]
    published: dict[str, list[float | None]]


@dataclass(frozen=True)
class RunStatus:
    """The progress of a run.

    Attributes:
        id: The run's id.
        row: Name of the run's row.
        seed: The run's seed.
        state: `waiting`, `running`, `stopped`, `failed`, `damaged`, `trained` (but not tested),
            `diverged` or `done`.
        iteration: Number of finished iterations; None where a file is damaged.
        iterations: Total number of iterations.
        images_per_second: Last measured training speed, by the clock on the wall; None if it is not
            running.
        seconds_left: Remaining training time at that speed, without tests; None if not running.
        reason: Why it failed, diverged or cannot be resumed, why its last job ended, or what is
            missing after training.
        recorded: Whether its result is in the file of records.
        job: The cluster's job for this run, if there is one.
        folder: Folder of the run's files.
    """

    id: str
    row: str
    seed: int
    state: str
    iteration: int | None
    iterations: int
    images_per_second: float | None
    seconds_left: float | None
    reason: str | None
    recorded: bool
    job: Job | None
    folder: Path

    @property
    def kind(self) -> str:
        """The state by which runs are counted and selected: `queued` where a job is to go on."""
        return "queued" if self.job and self.state in WITHOUT_PROCESS else self.state


@dataclass(frozen=True)
class RowStatus:
    """How far the runs of a row are, those that were asked for.

    Attributes:
        row: The row's name.
        runs: Number of its runs.
        done: Number of runs in that state, of `RunStatus`; likewise the next ones.
        diverged: Number of runs in that state.
        trained: Number of runs in that state.
        running: Number of runs in that state.
        queued: Number that a job in the queue is to carry out or resume.
        waiting: Number that has neither been started nor queued.
        stopped: Number of runs in that state.
        failed: Number of runs in that state.
        damaged: Number of runs in that state.
        progress: Share of all iterations that is done, 0 to 1.
        seconds_left: Of the running run that takes longest; None where none runs.
    """

    row: str
    runs: int
    done: int
    diverged: int
    trained: int
    running: int
    queued: int
    waiting: int
    stopped: int
    failed: int
    damaged: int
    progress: float
    seconds_left: float | None


@dataclass(frozen=True)
class Status:
    """The progress of an experiment's runs.

    Attributes:
        experiment: The experiment's name.
        runs: The selected runs.
        rows: The same runs, counted by row.
    """

    experiment: str
    runs: tuple[RunStatus, ...]
    rows: tuple[RowStatus, ...]


def overview(plans: list[Plan]) -> list[Experiment]:
    """Return an entry in the list of experiments for each plan."""
    found = []
    for plan in plans:
        runs, in_file = plan.runs, recorded_ids(plan)
        # The file has the rows' own runs; those of earlier steps were done for them.
        recorded = with_needs([run for run in runs if run.id in in_file])
        found.append(
            Experiment(
                experiment=plan.name,
                paper=plan.paper.cite,
                where=plan.paper.where,
                title=plan.paper.title,
                rows=len(plan.selected),
                runs=len(runs),
                done=sum(run_state(run, plan.results).is_done for run in runs),
                recorded=len({run.id for run in recorded}),
                numbers=published_rows(plan),
                published=published_errors(plan),
            )
        )
    return found


def experiments_text(found: list[Experiment]) -> str:
    """Return the list of experiments as a table."""
    rows = [
        [
            each.experiment,
            f"{each.paper} {each.where}" if each.paper else "",
            each.title,
            str(each.rows),
            f"{each.done}/{each.runs}",
            f"{each.recorded}/{each.runs}",
        ]
        for each in found
    ]
    header = ["experiment", "paper", "title", "rows", "runs done here", "recorded"]
    published = [published_summary(each.published) for each in found]
    if any(published):
        header.append("published")
        rows = [[*row, each] for row, each in zip(rows, published, strict=True)]
    covered = coverage_text(each.numbers for each in found)
    return markdown(header, rows) + (f"\n\n{covered}" if covered else "")


def asked_states(given: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Return the states of `state=failed` or `state=[failed,stopped]`; none without it.

    Raises:
        UserError: There is no such state.
    """
    if given is None:
        return ()
    states = list(map(str, given if isinstance(given, list | ListConfig) else [given]))
    for state in states:
        require(state in STATES, f"there is no state {state}{nearest(state, STATES)}")
    return tuple(states)


def find_status(
    plan: Plan, jobs: Mapping[str, Job], ended: Ended | None = None, states: Sequence[str] = ()
) -> Status:
    """Return the progress of each selected run of the plan.

    Args:
        plan: The experiment.
        jobs: Jobs in a cluster's queue, by the digests of their runs.
        ended: Returns why the last jobs of runs ended, by the runs' digests.
        states: The states of the runs to select; none for all runs.
    """
    in_file = recorded_ids(plan)
    runs = [run_status(plan, run, in_file, jobs) for run in plan.runs]
    digests = {run.id: run.digest for run in plan.runs}
    unfinished = {digests[each.id] for each in runs if each.kind in ("waiting", "stopped")}
    reasons = ended(unfinished) if ended and unfinished else {}
    runs = [replace(each, reason=each.reason or reasons.get(digests[each.id]))
            if digests[each.id] in unfinished else each for each in runs]  # fmt: skip
    runs = [each for each in runs if not states or each.kind in states]
    rows: dict[str, list[RunStatus]] = {}
    for each in runs:
        rows.setdefault(each.row, []).append(each)
    return Status(plan.name, tuple(runs), tuple(sum_up(row, each) for row, each in rows.items()))


def sum_up(row: str, runs: Sequence[RunStatus]) -> RowStatus:
    """Return how far some runs are together."""
    number = Counter(run.kind for run in runs)
    return RowStatus(
        row=row,
        runs=len(runs),
        **{state: number[state] for state in STATES},
        progress=sum(_iterations(run) for run in runs) / sum(run.iterations for run in runs),
        seconds_left=max((run.seconds_left for run in runs if run.seconds_left), default=None),
    )


def _iterations(run: RunStatus) -> int:
    """Return the iterations that need not be done again."""
    return run.iterations if run.state in ("done", "diverged") else run.iteration or 0


def run_status(
    plan: Plan, run: Run, in_file: Container[str] = (), jobs: Mapping[str, Job] | None = None
) -> RunStatus:
    """Return the progress of a run.

    Args:
        plan: The experiment.
        run: The run.
        in_file: Ids of the runs in the file of records.
        jobs: Jobs in a cluster's queue, by the digests of their runs.
    """
    found = run_state(run, plan.results)
    state, reason, speed, left = found.state, None, None, None
    iterations, iteration = run.config.recipe.iterations, found.iteration
    if iteration is not None and found.is_running and not found.is_trained:
        state = "running"
        train = found.train or {}
        speed = train.get(WALL_SPEED, train.get("images_per_second"))
        images = run.config.recipe.batch_size * (iterations - iteration)
        left = images / speed if speed else None
    elif state == "trained":
        key = run.config.evaluation.key
        reason = "responses not measured" if key in found.tests else f"not tested with {key}"
    elif state in ("failed", "diverged"):
        assert found.last is not None
        reason = found.last["reason"]
    elif state == "stopped" and Record(found.folder).lost_checkpoint():
        reason = "its checkpoint is not here"
    return RunStatus(
        id=run.id,
        row=run.row,
        seed=run.seed,
        state=state,
        iteration=iteration,
        iterations=iterations,
        images_per_second=speed,
        seconds_left=left,
        reason=reason,
        recorded=run.id in in_file,
        job=(jobs or {}).get(run.digest),
        folder=found.folder,
    )
