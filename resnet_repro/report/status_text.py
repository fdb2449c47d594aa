"""The progress of runs, as text."""

from collections import Counter
from collections.abc import Sequence

from resnet_repro.report.status import STATES, RunStatus, Status, sum_up
from resnet_repro.text import count, duration, markdown, rate_text

SHOWN = 50  # most runs that are shown one by one, unless a state is selected
REASONS = 5  # most reasons that are listed below more runs


def status_text(status: Status, states: Sequence[str] = ()) -> str:
    """Return a table of the runs' progress: a line for each run, or for each row of many.

    Args:
        status: The runs' progress.
        states: The selected states; the runs are then shown one by one.
    """
    if not status.runs:
        return f"no selected run is {' or '.join(states)}"
    if len(status.runs) > SHOWN and not states:
        return _summary(status)
    header = ["run", "state", "iteration", "speed", "time left"]
    lines = [_status_line(each) for each in status.runs]
    return markdown(*with_rows(header, lines, [each.row for each in status.runs]))


def with_rows(
    header: list[str], lines: list[list[str]], rows: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return a table of runs with the rows' names in the second column, where it is of a sweep.

    The ids of a sweep's runs do not tell which value they have.
    """
    if not any("=" in row for row in rows):
        return header, lines
    named = [[line[0], row, *line[1:]] for line, row in zip(lines, rows, strict=True)]
    return [header[0], "row", *header[1:]], named


def _summary(status: Status) -> str:
    total = sum_up("all", status.runs)
    there = [state for state in STATES if getattr(total, state)]
    lines = [
        [
            each.row,
            str(each.runs),
            *(str(getattr(each, state)) for state in there),
            f"{100 * each.progress:.0f} %",
            "" if each.seconds_left is None else duration(each.seconds_left),
        ]
        for each in (*status.rows, total)
    ]
    parts = [markdown(["row", "runs", *there, "progress", "time left"], lines)]
    reasons = Counter(each.reason for each in status.runs if each.reason and not each.job)
    parts += [f"{count(number, 'run')}: {text}" for text, number in reasons.most_common(REASONS)]
    parts.append(
        f"state={there[-1]} lists the runs in that state, row=ROW those of a row; "
        f"`resnet-repro logs RUN` prints a run's log."
    )
    return "\n\n".join([parts[0], "\n".join(parts[1:])])


def _with_job(run: RunStatus, state: str) -> str:
    """Return a state as it is selected by `state=`, with the job and what was before."""
    before = f"; before: {state}" if run.state not in ("waiting", "stopped") else ""
    return f"queued ({run.job}){before}" if run.kind == "queued" else f"{state} ({run.job})"


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
        _with_job(run, state) if run.job else state,
        "" if run.iteration is None else f"{run.iteration}/{run.iterations}",
        rate_text(run.images_per_second) if run.images_per_second else "",
        "" if run.seconds_left is None else duration(run.seconds_left),
    ]
