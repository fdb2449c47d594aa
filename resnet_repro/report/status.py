"""What there is to run, and how far it is."""

import logging
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.plan import Plan, Run
from resnet_repro.records.jobs import Job
from resnet_repro.records.results import recorded
from resnet_repro.records.runs import look
from resnet_repro.report.published import published_errors, published_summary
from resnet_repro.text import duration, markdown

logger = logging.getLogger("resnet_repro")


@dataclass(frozen=True)
class Experiment:
    """An experiment in the list of them.

    Attributes:
        experiment: Its name.
        paper: `He15`; None of one of our own.
        where: In the paper: `Table 6`.
        title: What it shows.
        rows: How many can be run.
        runs: How many they make.
        done: How many of these are done here.
        recorded: How many of them the file of records holds.
        published: Test errors of each row that are published, %, one per seed; null of one that
            failed.
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
    """How far a run is.

    Attributes:
        id: Of the run.
        row: Its row's name.
        seed: Its seed.
        state: `waiting`, `running`, `stopped`, `failed`, `damaged`, `trained` (but not tested),
            `diverged` or `done`.
        iteration: Iterations done; None where a file is damaged.
        iterations: How many it takes.
        images_per_second: While it runs, last measured.
        seconds_left: While it runs, at that speed, without tests.
        reason: Why it failed, diverged, or is not done though trained.
        recorded: Whether the file of records holds its result.
        job: The job that is to carry it out.
        folder: Where its files are.
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
    """How far the runs of an experiment are."""

    experiment: str
    runs: tuple[RunStatus, ...]


def overview(plans: list[Plan]) -> list[Experiment]:
    """Return what there is of each experiment."""
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
                done=sum(look(run, plan.results).is_done for run in runs),
                recorded=len(recorded(plan) & {run.id for run in runs}),
                published=published_errors(plan),
            )
        )
    return found


def experiments_text(found: list[Experiment]) -> str:
    """Return a table of the experiments."""
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
    header = ["experiment", "paper", "what", "rows", "runs done here", "recorded"]
    published = [published_summary(each.published) for each in found]
    if any(published):
        header.append("published")
        rows = [[*row, each] for row, each in zip(rows, published, strict=True)]
    return markdown(header, rows)


def find_status(plan: Plan, jobs: Mapping[str, Job]) -> Status:
    """Return how far each run of the plan is.

    Args:
        plan: The plan.
        jobs: In a cluster's queue, by the digests of their runs.
    """
    in_file = recorded(plan)
    return Status(plan.name, tuple(run_status(plan, run, in_file, jobs) for run in plan.runs))


def run_status(
    plan: Plan, run: Run, in_file: Container[str] = (), jobs: Mapping[str, Job] | None = None
) -> RunStatus:
    """Return how far a run is.

    Args:
        plan: Its plan.
        run: The run.
        in_file: The ids of the runs in the file of records.
        jobs: In a cluster's queue, by the digests of their runs.
    """
    found = look(run, plan.results)
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
        reason = "responses not measured" if key in found.tests else f"not tested by {key}"
    elif state in ("failed", "diverged"):
        reason = found.events[-1]["reason"]
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
    """Return how far each run is, a line each."""
    header = ["run", "state", "iteration", "speed", "left"]
    return markdown(header, [_status_line(each) for each in status.runs])


def _status_line(run: RunStatus) -> list[str]:
    state = f"{run.state}: {run.reason}" if run.reason else run.state
    if run.state == "damaged":
        state = f"damaged; `table` says which file of {run.folder}"
    elif run.state == "trained":
        state = f"trained, {run.reason}"
    elif run.state == "waiting" and run.recorded:
        state = "waiting (a result is in records.json)"
    return [
        run.id,
        f"{state} ({run.job})" if run.job else state,
        "" if run.iteration is None else f"{run.iteration}/{run.iterations}",
        f"{run.images_per_second:.0f} images/s" if run.images_per_second else "",
        "" if run.seconds_left is None else duration(run.seconds_left),
    ]
