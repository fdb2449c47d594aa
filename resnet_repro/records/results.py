"""The results of an experiment's runs, from their folders or from its file of records."""

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.plan import Ensemble, Plan, Run
from resnet_repro.records import Event, Record
from resnet_repro.records.archive import (
    RECORDS_FILE,
    Result,
    read_archive,
    warn_once,
    write_archive,
)
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.headline import headline
from resnet_repro.records.runs import recorded_seeds, run_folder

# The parts of a command that depend on the machine: these settings, and paths.
OWN = ("results=", "data.root=")
PRIVATE = re.compile(r"(^|[=:,'\"[{])\s*([/~]|\.\./)")


def load_results(plan: Plan) -> dict[str, list[Result]]:
    """Return each row's results, of all seeds that have one, in the order of the seeds.

    The folder of a run that has ended takes precedence over the file of records next to its table;
    the file takes precedence over an unfinished run. Imported weights are not included.
    """
    committed = _read_committed(plan)
    by_seed = _by_seed(committed)
    results: dict[str, list[Result]] = {}
    for row in plan.rows:
        if row.ensemble:
            here = _read_ensemble(plan, row.ensemble) or committed.get(row.ensemble.id)
            results[row.name] = [here] if here else []
        if row.config is None:
            continue
        seeds = set(recorded_seeds(row, plan.results))
        seeds |= {seed for seed, ids in by_seed.items() if row.run(seed).id in ids}
        each = [
            _choose(read_run(row.run(seed), plan.results), committed.get(row.run(seed).id))
            for seed in sorted(seeds)
        ]
        results[row.name] = [result for result in each if result]
    return results


def _choose(here: Result | None, committed: Result | None) -> Result | None:
    if here is None or not here.ended:
        return committed or here
    if committed is None:
        return here
    if (here.state, here.weights) != (committed.state, committed.weights):
        warn_once(
            f"{here.id}: {RECORDS_FILE} has another training of this run ({_about(committed)}); "
            f"it is replaced by the one in runs/ ({_about(here)})"
        )
        return here
    return _merged(here, committed)


def merge_records(first: Result, second: Result) -> tuple[Result, list[str]]:
    """Merge two records of one training; return the result and the fields taken from the second.

    Each field is the first's, unless it is None or a shorter list there; tests are the union.
    """
    values = {each.name: getattr(first, each.name) for each in fields(Result)}
    taken = []
    for name, value in values.items():
        known = getattr(second, name)
        if isinstance(value, dict):
            values[name] = {**known, **value}
        elif (value is None and known is not None) or _is_longer(known, value):
            values[name] = known
            taken.append(name)
    return Result(**values), taken


def unite(new: Result, old: Result) -> Result | None:
    """Return the union of two records of one training; None where they contradict."""
    both = new.evaluations.keys() & old.evaluations.keys()
    if (new.state, new.weights) != (old.state, old.weights):
        return None
    if any(new.evaluations[key] != old.evaluations[key] for key in both):
        return None
    return merge_records(old, new)[0]


def _merged(here: Result, recorded: Result) -> Result:
    """Merge a run's folder with the file of records, and warn of fields that the folder lost."""
    result, poorer = merge_records(here, recorded)
    if poorer:
        warn_once(
            f"{here.id}: its folder in runs/ has lost {', '.join(poorer)}; kept as {RECORDS_FILE} "
            f"has it"
        )
    return result


def _is_longer(known: Any, value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list) and len(known) > len(value)


def _about(result: Result) -> str:
    return f"{result.state}, weights {str(result.weights)[:8]}"


def write_records(plan: Plan, results: dict[str, list[Result]]) -> Path:
    """Write an experiment's results to its file of records, and keep its unmatched results."""
    others = unmatched_results(plan)
    return write_archive(plan, [*(r for each in results.values() for r in each), *others])


def recorded_ids(plan: Plan) -> set[str]:
    """Return the ids of the runs in the file of records.

    If the file cannot be read, this only warns, so that `list` and `status` show the rest.
    """
    try:
        return set(_read_committed(plan))
    except UserError as error:
        warn_once(f"left out: {error}")
        return set()


def unmatched_results(plan: Plan) -> list[Result]:
    """Return the results in the file of records that match no run of the experiment's settings.

    They were added by hand, or an experiment or a default has changed since. They are kept but not
    counted.
    """
    return assign(plan, _read_committed(plan))[1]


def assign(plan: Plan, recorded: dict[str, Result]) -> tuple[dict[str, list[Result]], list[Result]]:
    """Return recorded results by row, in the order of their seeds, and those that match no row."""
    results: dict[str, list[Result]] = {}
    used, by_seed = set[str](), _by_seed(recorded)
    for row in plan.rows:
        ids: set[str] = set()
        if row.config:
            ids = {row.run(seed).id for seed, there in by_seed.items() if row.run(seed).id in there}
        if row.ensemble:
            ids = {row.ensemble.id} & recorded.keys()
        results[row.name] = sorted((recorded[id] for id in ids), key=lambda result: result.seed)
        used |= ids
    return results, [result for id, result in recorded.items() if id not in used]


def _by_seed(recorded: dict[str, Result]) -> dict[int, set[str]]:
    """Return the ids of results by seed, so that a row computes the ids of these seeds only."""
    ids: dict[int, set[str]] = {}
    for id, result in recorded.items():
        ids.setdefault(result.seed, set()).add(id)
    return ids


def _read_committed(plan: Plan) -> dict[str, Result]:
    path = plan.folder / RECORDS_FILE
    return read_archive(path, plan).results if path.exists() else {}


def read_run(run: Run, root: Path) -> Result | None:
    """Return the result in a run's folder in an output root; None if it has none or is damaged."""
    record = Record(run_folder(run, root))
    try:
        return _result(run, record)
    except DamagedError as error:
        warn_once(f"left out: {error}")
        return None


def _result(run: Run, record: Record) -> Result | None:
    events = record.events(run.config.recipe.iterations)
    if not events:
        return None
    sessions = [{**s, "command": public_command(s["command"])} for s in record.environment()]
    tests = [e for e in events if e["event"] == "test"]
    trains = [e for e in events if e["event"] == "train"]
    losses = trains if run.config.detector.is_used else []
    last = events[-1]
    end = last if last["event"] in ("finished", "diverged", "error") else {}
    states = {"finished": "finished", "diverged": "diverged", "error": "failed"}
    return Result(
        id=run.id,
        row=run.row,
        seed=run.seed,
        state=states.get(end.get("event", ""), "unfinished"),
        iteration=record.iteration(events),
        evaluations=record.evaluations(),
        train_error=_error(_last_epoch(trains, sessions, run.config.recipe.batch_size)),
        reason=end.get("reason"),
        seconds=end.get("seconds"),
        weights=end.get("weights"),
        num_unreadable=end.get("num_unreadable", 0),
        energy=end.get("energy"),
        train_curve=[(e["iteration"], _round(_error([e]))) for e in trains],
        test_curve=_test_curve(tests),
        loss_curve=[(e["iteration"], round(e["loss"], 4)) for e in losses],
        sessions=sessions,
    )


def _test_curve(tests: list[Event]) -> list[tuple[int, float]]:
    values = [(e["iteration"], headline(e)[1]) for e in tests]
    return [(iteration, round(value, 3)) for iteration, value in values if value is not None]


def public_command(command: str) -> str:
    """Return a command without the paths of its machine.

    A path that is needed is replaced by `DIR` or `PATH`.
    """
    words = shlex.split(command)
    kept = []
    for before, word in zip(["", *words], words, strict=False):
        if before in ("--config-dir", "-cd"):
            kept.append(_public_folder(Path(word)))
        elif PRIVATE.search(word):
            kept.append(f"{word.partition('=')[0]}=PATH" if "=" in word else "PATH")
        else:
            kept.append(word)
    return shlex.join(word for word in kept if not word.startswith(OWN))


def _public_folder(folder: Path) -> str:
    """Return a folder of settings relative to the working directory; `DIR` if it is elsewhere."""
    if folder.is_relative_to(Path.cwd()):
        return str(folder.relative_to(Path.cwd()))
    return "DIR" if PRIVATE.search(str(folder)) else str(folder)


def _read_ensemble(plan: Plan, ensemble: Ensemble) -> Result | None:
    try:
        evaluations = Record(run_folder(ensemble, plan.results)).evaluations()
    except DamagedError as error:
        warn_once(f"left out: {error}")
        return None
    if ensemble.evaluation.key not in evaluations:
        return None
    return Result(
        id=ensemble.id,
        row=ensemble.row,
        seed=0,
        state="finished",
        iteration=0,
        evaluations=evaluations,
        train_error=None,
        reason=None,
        seconds=None,
        weights=None,
        train_curve=[],
        test_curve=[],
        sessions=[],
    )


def _last_epoch(
    trains: list[Event], sessions: list[dict[str, Any]], batch_size: int
) -> list[Event]:
    """Return the last measurements that together cover the training set's number of images."""
    wanted = sessions[-1]["num_train"] if sessions else 0
    last = trains[-1]["iteration"] if trains else 0
    # Iterations, as a detector's events count the regions or anchors of its photographs.
    return [event for event in trains if (last - event["iteration"]) * batch_size < wanted]


def _error(events: list[Event]) -> float | None:
    """Return the error over all images of the events, in %."""
    num_images = sum(event["num_images"] for event in events)
    return 100 * sum(event["num_errors"] for event in events) / num_images if events else None


def _round(error: float | None) -> float:
    assert error is not None
    return round(error, 3)
