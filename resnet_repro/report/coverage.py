"""Which of the papers' published numbers stand in the experiment files."""

from collections.abc import Iterable, Mapping

from resnet_repro.plan import Plan

# Rows of the papers' tables, figures and texts in `papers.yaml`, the collection of their numbers.
PUBLISHED_ROWS = {"p1": 95, "p2": 66, "p3": 57}
RUN, CITED = "run", "cited"


def published_rows(plan: Plan) -> dict[str, str]:
    """Return the published rows that an experiment has, by their keys: `run`, `cited` or a note.

    A row that cannot be run, because the paper quotes it or its data are not public, is cited.
    """
    found = dict(plan.paper.elsewhere)
    found |= {row.paper.ref: CITED for row in plan.rows if row.paper.ref and row.is_cited}
    found |= {row.paper.ref: RUN for row in plan.rows if row.paper.ref and not row.is_cited}
    return found


def coverage_text(found: Iterable[Mapping[str, str]]) -> str:
    """Return how many of the papers' rows the experiments have, in a line; "" if they have none."""
    every: dict[str, str] = {}
    for rows in found:
        # A row of two tables can be run if it can in one of them.
        every |= {key: what for key, what in rows.items() if every.get(key) != RUN}
    numbers = [sum(what == kind for what in every.values()) for kind in (RUN, CITED)]
    if not every:
        return ""
    total = sum(PUBLISHED_ROWS.values())
    return (
        f"Rows of the three papers: {len(every)} of {total}. {numbers[0]} can be run, {numbers[1]} "
        f"are cited, {len(every) - sum(numbers)} have a note in an experiment file."
    )
