"""What there is to run, and how far it is, as text."""

import logging
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.jobs import find_jobs
from resnet_repro.plan import Plan, Run
from resnet_repro.records import Record
from resnet_repro.report.published import published_summary
from resnet_repro.report.results import recorded
from resnet_repro.report.text import duration, markdown

logger = logging.getLogger("resnet_repro")


def experiments_text(plans: list[Plan]) -> str:
    """Return a table of the experiments."""
    rows = []
    for plan in plans:
        states = [plan.state(run) for run in plan.runs]
        where = f"{plan.paper.cite} {plan.paper.where}" if plan.paper.cite else ""
        done = f"{states.count('done')}/{len(states)}"
        in_file = f"{len(recorded(plan) & {run.id for run in plan.runs})}/{len(states)}"
        rows.append([plan.name, where, plan.paper.title, str(len(plan.selected)), done, in_file])
    header = ["experiment", "paper", "what", "rows", "runs done here", "recorded"]
    published = [published_summary(plan) for plan in plans]
    if any(published):
        header.append("published")
        rows = [[*row, each] for row, each in zip(rows, published, strict=True)]
    return markdown(header, rows)


def status_text(plan: Plan) -> str:
    """Return how far each run of the plan is."""
    in_file, jobs = recorded(plan), {}
    try:
        jobs = find_jobs(plan.results)
    except UserError as error:
        logger.warning("%s", error)
    rows = [[run.id, *_status(plan, run, run.id in in_file)] for run in plan.runs]
    for row, run in zip(rows, plan.runs, strict=True):
        if run.digest in jobs:
            row[1] += f" ({jobs[run.digest]})"
    return markdown(["run", "state", "iteration", "speed", "left"], rows)


def _status(plan: Plan, run: Run, is_recorded: bool) -> list[str]:
    record, state = Record(plan.run_folder(run)), plan.state(run)
    if state == "damaged":
        return [f"damaged; `table` says which file of {record.folder}", "", "", ""]
    events, iteration = record.events(), record.iteration()
    iterations = run.config.recipe.iterations
    progress = f"{iteration}/{iterations}"
    trains = [event for event in events if event["event"] == "train"]
    if record.is_running() and state not in ("done", "trained"):
        speed = trains[-1]["images_per_second"] if trains else None
        left = run.config.recipe.batch_size * (iterations - iteration) / speed if speed else None
        return [
            "running",
            progress,
            f"{speed:.0f} images/s" if speed else "",
            duration(left) if left is not None else "",
        ]
    if state == "trained":
        key = run.config.evaluation.key
        is_tested = key in record.evaluations()
        missing = "responses not measured" if is_tested else f"not tested by {key}"
        return [f"trained, {missing}", progress, "", ""]
    if state == "done":
        last = events[-1]
        why = f"diverged: {last['reason']}" if last["event"] == "diverged" else "done"
        return [why, progress, "", ""]
    if state == "failed":
        return [f"failed: {events[-1]['reason']}", progress, "", ""]
    if state == "new":
        waiting = "waiting (a result is in records.json)" if is_recorded else "waiting"
        return [waiting, progress, "", ""]
    return ["stopped", progress, "", ""]


def imported_text(results: Path) -> str:
    """Return a table of the tests of weights that others published."""
    rows = []
    for folder in sorted((results / "imported").glob("*/")):
        for key, test in Record(folder).evaluations().items():
            published = test["published"]
            same = published and published["protocol"] == key
            rows.append(
                [
                    test["imported"],
                    test["network"],
                    test["data"],
                    key,
                    *(
                        f"{100 * test[name] / test['num_images']:.2f}" if name in test else ""
                        for name in ("num_errors", "num_errors_top5")
                    ),
                    f"{published['error']:.2f} / {published['top5']:.2f}" if same else "",
                ]
            )
    header = ["imported, not trained here", "network", "data", "protocol", "error", "top-5",
              "as published"]  # fmt: skip
    return markdown(header, rows)
