"""Plan and results -> the paper's table with ours beside it, as numbers and footnotes."""

from dataclasses import dataclass, replace
from typing import Any

from resnet_repro.experiment import PaperValues
from resnet_repro.plan import Plan, Row
from resnet_repro.report.results import Result
from resnet_repro.report.statistics import Cell, aggregate
from resnet_repro.report.text import count


@dataclass(frozen=True)
class Line:
    """A row of the table, as numbers; the formats differ only in how they print them.

    Attributes:
        name: Of the row.
        cited: The paper quotes it; there is nothing of ours.
        layers: Of the network.
        params: Of the network.
        paper: What the paper prints.
        ours: Our test error over the seeds that ended well; None before there is one.
        top5: Likewise, the error among five; None where the table has none.
        train_error: Mean over the same seeds, %.
        failed: Seeds that diverged, or ended above the row's bound.
        wanted: Seeds behind the paper's value, or asked for.
        progress: Where nothing has ended yet: share of the iterations done, 0..1.
        shortened: `(iterations, the experiment's)` of a shortened schedule.
        notes: Numbers of its footnotes.
    """

    name: str
    cited: bool
    layers: int | None
    params: float | None
    paper: PaperValues
    ours: Cell | None
    top5: Cell | None
    train_error: float | None
    failed: tuple[int, ...]
    wanted: int
    progress: float | None
    shortened: tuple[int, int] | None
    notes: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        experiment: Its name.
        title: Caption.
        lines: In the paper's order.
        notes: Footnotes, numbered from 1.
        remarks: What holds for all rows: recipe, provenance.
    """

    experiment: str
    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]


def build_table(plan: Plan, results: dict[str, list[Result]]) -> Table:
    """Set what the paper prints and what came out side by side."""
    notes: list[str] = []
    with_top5 = any(row.paper.top5 is not None for row in plan.rows)
    lines = tuple(
        _line(row, results.get(row.name, []), notes, with_top5=with_top5) for row in plan.rows
    )
    where = f"[{plan.paper.cite}] {plan.paper.where}. " if plan.paper.cite else ""
    return Table(
        experiment=plan.name,
        title=f"{where}{plan.paper.title}",
        lines=lines,
        notes=tuple(notes),
        remarks=tuple(_remarks(plan, _ended_runs(results))),
    )


def _ended_runs(results: dict[str, list[Result]]) -> list[Result]:
    """Return each run that ended once: rows may differ in its last test only."""
    ended = [result for each in results.values() for result in each if result.ended]
    return list({result.run: result for result in ended if result.sessions}.values())


def _not_compared(cell: Cell | None) -> Cell | None:
    return cell and replace(cell, value=None, difference=None, compared="")


def _line(row: Row, results: list[Result], notes: list[str], *, with_top5: bool) -> Line:
    protocol = "" if row.is_cited else row.protocol
    tested = [r for r in results if r.state == "diverged" or protocol in r.evaluations]
    ended = [result for result in tested if result.ended]
    failed = [result for result in ended if _is_fail(result, row)]
    good = [result for result in ended if result not in failed]
    errors = [e for r in good if (e := r.error(protocol)) is not None]
    errors_top5 = [e for r in good if (e := r.error(protocol, top5=True)) is not None]
    train_errors = [r.train_error for r in good if r.train_error is not None]
    changes = {key: (ours, theirs) for key, ours, theirs in row.deviations}
    iterations = changes.get("recipe.iterations", (0, 0))
    shortened = iterations if iterations[0] < iterations[1] else None
    paper_top5 = replace(row.paper, error=row.paper.top5, mean=None, std=None)
    ours = aggregate(errors, row.paper) if errors else None
    top5 = aggregate(errors_top5, paper_top5) if errors_top5 and with_top5 else None
    # A shorter schedule, other images or another test are not what the paper measured.
    other = any(key.startswith(("data.", "evaluation")) for key in changes)
    if shortened or other or row.paper.other_images:
        ours, top5 = _not_compared(ours), _not_compared(top5)
    texts = [
        f"{key} = {_plain(mine)}, in the experiment {_plain(theirs)}."
        for key, (mine, theirs) in changes.items()
    ]
    texts += [f"{r.row}, seed {r.seed}: {r.reason}." for r in failed if r.reason]
    return Line(
        name=row.name,
        cited=row.is_cited,
        layers=row.config.model.depth if row.config else row.paper.layers,
        params=_params(row),
        paper=row.paper,
        ours=ours,
        top5=top5,
        train_error=sum(train_errors) / len(train_errors) if train_errors else None,
        failed=tuple(result.seed for result in failed),
        wanted=max(row.paper.num_runs, len(row.seeds)),
        progress=_progress(row, results) if not ended else None,
        shortened=shortened,
        notes=tuple(_number(notes, text) for text in texts) if results else (),
    )


def _params(row: Row) -> float | None:
    if row.config is None:
        return row.paper.params
    return row.exact.params if row.exact and row.is_network_as_shipped else None


def _is_fail(result: Result, row: Row) -> bool:
    error = result.error(row.protocol)
    if result.state == "diverged" or error is None:
        return True
    return row.fail_above is not None and error > row.fail_above


def _progress(row: Row, results: list[Result]) -> float | None:
    if not results or row.config is None:
        return None
    return max(result.iteration for result in results) / row.config.recipe.iterations


def _number(notes: list[str], text: str) -> int:
    """Return the number of a footnote, the same for the same text."""
    if text not in notes:
        notes.append(text)
    return notes.index(text) + 1


def _plain(value: object) -> str:
    return "none" if value is None else str(value)


def _remarks(plan: Plan, ended: list[Result]) -> list[str]:
    data = [row.config.data for row in plan.rows if row.config]
    tested = {f"{d.title}, {'held-out' if d.num_validation else 'test'} images" for d in data}
    protocols = dict.fromkeys(_in_words(row.protocol) for row in plan.rows if not row.is_cited)
    remarks = [
        f"Error: top-1 error on {'; '.join(sorted(tested))}; last iteration, "
        f"{' or '.join(protocols)}, in %. "
        "Training error: over the augmented mini-batches of the last epoch. Several seeds: mean +- "
        "standard deviation." + (" Difference: ours less the paper's." if plan.paper.cite else "")
    ]
    remarks += plan.paper.remarks
    unreadable = sum(result.num_unreadable for result in ended)
    if unreadable:
        remarks.append(f"{count(unreadable, 'photograph')} could not be read and was left out.")
    departures = {d for row in plan.rows if row.config for d in row.config.recipe.departures}
    first = next((row.config.recipe.departures for row in plan.rows if row.config), [])
    remarks += [f"The recipe: {text}" for text in sorted(departures, key=list(first).index)]
    sessions = [session for result in ended for session in result.sessions]
    if sessions:
        code = {f"{s['resnet_repro']}{_commit(s)}" for s in sessions}
        hours = sum(result.seconds or 0 for result in ended) / 3600
        days = sorted({session["started"][:10] for session in sessions})
        span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        remarks.append(
            f"Made by resnet-repro {', '.join(sorted(code))}; "
            f"torch {', '.join(sorted({s['torch'] for s in sessions}))}; "
            f"{', '.join(sorted({_machine(s) for s in sessions}))}; "
            f"{count(len(ended), 'run')}, {hours:.2f} hours, {span}."
        )
    return remarks


def _in_words(protocol: str) -> str:
    """Return what a protocol's key means: `ten_crop 224/256` -> `ten crops (224/256)`."""
    name, _, rest = protocol.partition(" ")
    words = {"single_view": "one view", "one_crop": "one crop", "ten_crop": "ten crops"}
    rest = rest.replace(" flip", ", mirrored too").replace(" reestimated:", ", batch norm over ")
    return words.get(name, "fully convolutional at several scales") + (f" ({rest})" if rest else "")


def _commit(session: dict[str, Any]) -> str:
    if "commit" not in session:
        return ""
    return f" ({session['commit'][:8]}{', changed since' if session['dirty'] else ''})"


def _machine(session: dict[str, Any]) -> str:
    return str(session["cpu"] if session["device"] == "cpu" else session["device"])
