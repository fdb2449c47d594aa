"""The list of experiments, and the progress of each run."""

import logging
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.plan import Plan, Run
from resnet_repro.records import Record
from resnet_repro.records.jobs import Job
from resnet_repro.records.results import recorded_ids
from resnet_repro.records.runs import run_state
from resnet_repro.report.published import published_errors, published_summary
from resnet_repro.text import duration, markdown

logger = logging.getLogger("resnet_repro")


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
        recorded: Number of runs that are in the file of records.
        published: Published test errors of each row, %, one per seed; null for a failed run.
    """

    experiment: str
    paper: str | None
    where: str
    title: str
    rows: int
    runs: int
    done: int
    recorded: int
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
        images_per_second: Last measured training speed; None if it is not running.
        seconds_left: Remaining training time at that speed, without tests; None if not running.
        reason: Why it failed, diverged or cannot be resumed, or what is missing after training.
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


@dataclass(frozen=True)
class Status:
    """The progress of an experiment's runs."""

    experiment: str
    runs: tuple[RunStatus, ...]


def overview(plans: list[Plan]) -> list[Experiment]:
    """Return an entry in the list of experiments for each plan."""
    found = []
    for plan in plans:
        runs = plan.runs
        found.append(
            Experiment(
                experiment=plan.name,
                paper=plan.paper.cite,
                where=plan.paper.where,
                title=plan.paper.title,
                rows=len(plan.selected),
                runs=len(runs),
                done=sum(run_state(run, plan.results).is_done for run in runs),
                recorded=len(recorded_ids(plan) & {run.id for run in runs}),
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
    return markdown(header, rows)


def find_status(plan: Plan, jobs: Mapping[str, Job]) -> Status:
    """Return the progress of each run of the plan.

    Args:
        plan: The experiment.
        jobs: Jobs in a cluster's queue, by the digests of their runs.
    """
    in_file = recorded_ids(plan)
    return Status(plan.name, tuple(run_status(plan, run, in_file, jobs) for run in plan.runs))


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
        trains = [event for event in found.events if event["event"] == "train"]
        speed = trains[-1]["images_per_second"] if trains else None
        images = run.config.recipe.batch_size * (iterations - iteration)
        left = images / speed if speed else None
    elif state == "trained":
        key = run.config.evaluation.key
        reason = "responses not measured" if key in found.tests else f"not tested with {key}"
    elif state in ("failed", "diverged"):
        reason = found.events[-1]["reason"]
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


def status_text(status: Status) -> str:
    """Return a table of the runs' progress, one line for each run."""
    header = ["run", "state", "iteration", "speed", "time left"]
    return markdown(header, [_status_line(each) for each in status.runs])


def _status_line(run: RunStatus) -> list[str]:
    state = f"{run.state}: {run.reason}" if run.reason else run.state
    if run.state == "damaged":
        state = f"damaged; run `table` to see which file of {run.folder}"
    elif run.state == "trained":
        state = f"trained, {run.reason}"
    elif run.state == "waiting" and run.recorded:
        state = "waiting (not run here; records.json has a result)"
    return [
        run.id,
        f"{state} ({run.job})" if run.job else state,
        "" if run.iteration is None else f"{run.iteration}/{run.iterations}",
        f"{run.images_per_second:.0f} images/s" if run.images_per_second else "",
        "" if run.seconds_left is None else duration(run.seconds_left),
    ]
