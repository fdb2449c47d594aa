"""The published results of an experiment: `published/` in the output root of a checkout."""

import logging
from dataclasses import replace
from statistics import fmean, stdev

from resnet_repro.errors import UserError
from resnet_repro.judge.measures import first_measure
from resnet_repro.judge.outcomes import sort_all
from resnet_repro.plan import PUBLISHED, Plan
from resnet_repro.records.archive import RECORDS_FILE, read_archive
from resnet_repro.records.results import assign
from resnet_repro.text import count

logger = logging.getLogger("resnet_repro")


def published_plan(plan: Plan) -> Plan:
    """Return the plan with the folder of published results as its output root."""
    return replace(plan, results=plan.results / PUBLISHED)


def published_errors(plan: Plan) -> dict[str, list[float | None]]:
    """Return the published values of each row that has any: %, one per seed, None if failed.

    They are the test errors, or what else the table's first measure is. A file that cannot be read
    causes only a warning, as the user's own results do not need it.
    """
    path = published_plan(plan).folder / RECORDS_FILE
    if not path.is_file():
        return {}
    try:
        results, _ = assign(plan, read_archive(path).results)
    except UserError as error:
        logger.warning("published results are not shown: %s", error)
        return {}
    measure = first_measure(plan)
    errors: dict[str, list[float | None]] = {
        name: [*each.values(measure), *(None for _ in each.failed)]
        for name, each in sort_all(plan, results).items()
    }
    return {name: each for name, each in errors.items() if each}


def published_text(plan: Plan) -> str:
    """Return the published errors of each row and their folder; empty without any."""
    errors = published_errors(plan)
    rows = [f"{name} {_error_text(each)}" for name, each in errors.items()]
    return f"Published in {published_plan(plan).folder}: {', '.join(rows)}" if rows else ""


def published_summary(errors: dict[str, list[float | None]]) -> str:
    """Return the published errors in a few words, for the list of experiments."""
    if len(errors) == 1:
        ((name, each),) = errors.items()
        return f"{name} {_error_text(each)}"
    means = [fmean(good) for each in errors.values() if (good := _good(each))]
    return f"{len(errors)} rows, {min(means):.2f} to {max(means):.2f}" if means else ""


def _good(errors: list[float | None]) -> list[float]:
    return [error for error in errors if error is not None]


def _error_text(errors: list[float | None]) -> str:
    good = _good(errors)
    failed = f"{len(errors) - len(good)} failed" if len(good) < len(errors) else ""
    spread = f" ± {stdev(good):.2f}" if len(good) > 1 else ""
    value = [f"{fmean(good):.2f}{spread}"] if good else []
    return " ".join([*value, f"({', '.join(filter(None, [count(len(errors), 'seed'), failed]))})"])
