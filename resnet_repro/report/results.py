"""What is known of an experiment's runs: read from their folders, or from a committed file.

`results/<experiment>/records.json` holds for each run what tables and plots need, so they render
again where the run folders are not.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.plan import Plan, Row
from resnet_repro.records import Event, Record, write_atomically

FORMAT = 1


@dataclass(frozen=True)
class Result:
    """One run, as far as it is.

    Attributes:
        id: Of the run.
        row: Its row's name.
        seed: Its seed.
        state: `finished`, `diverged`, `failed` or `unfinished`.
        iteration: Iterations done.
        test_error: At the last test, %.
        train_error: Over the mini-batches of the last epoch or of all if there were fewer, %.
        reason: Why it diverged or failed.
        protocol: How it was tested.
        seconds: Time it took; None before the end.
        weights: SHA-256 of the final weights.
        train_curve: (iteration, training error in %), the error since the point before.
        test_curve: (iteration, test error in %).
        sessions: The sessions of `environment.json`.
    """

    id: str
    row: str
    seed: int
    state: str
    iteration: int
    test_error: float | None
    train_error: float | None
    reason: str | None
    protocol: str | None
    seconds: float | None
    weights: str | None
    train_curve: list[tuple[int, float]]
    test_curve: list[tuple[int, float]]
    sessions: list[dict[str, Any]]

    @property
    def ended(self) -> bool:
        """Whether it is a result: it reached its end, or diverged."""
        return self.state in ("finished", "diverged")


def collect(plan: Plan) -> dict[str, list[Result]]:
    """Return each row's results in the order of their seeds, of every seed there is.

    A run that ended in its folder counts before the committed file, one that is under way after it.
    """
    committed = _read_committed(plan)
    results: dict[str, list[Result]] = {}
    for row in plan.rows:
        if row.config is None:
            continue
        seeds = set(row.recorded_seeds(plan.results / "runs"))
        seeds |= {r.seed for r in committed.values() if row.run(r.seed).id == r.id}
        here = {seed: _read_run(plan, row, seed) for seed in seeds}
        each = [_choose(here[seed], committed.get(row.run(seed).id)) for seed in sorted(seeds)]
        results[row.name] = [result for result in each if result]
    return results


def write_records(plan: Plan, results: dict[str, list[Result]]) -> Path:
    """Write `records.json` of an experiment's results."""
    path = plan.folder / "records.json"
    runs = [asdict(result) for each in results.values() for result in each if result.ended]
    text = json.dumps({"format": FORMAT, "experiment": plan.name, "runs": runs}, indent=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.replace('{"id"', '\n{"id"') + "\n")
    return path


def _choose(here: Result | None, committed: Result | None) -> Result | None:
    return here if here and here.ended else committed or here


def recorded(plan: Plan) -> set[str]:
    """Return the ids of the runs that the committed file holds."""
    return set(_read_committed(plan))


def _read_committed(plan: Plan) -> dict[str, Result]:
    path = plan.folder / "records.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise UserError(f"{path} has format {content['format']}; this version reads {FORMAT}")
        return {run["id"]: Result(**run) for run in content["runs"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): bring it back from version control, or delete it"
        ) from error


def _read_run(plan: Plan, row: Row, seed: int) -> Result | None:
    run = row.run(seed)
    record = Record(plan.run_folder(run))
    events = record.events()
    if not events:
        return None
    sessions = record.environment()
    tests = [e for e in events if e["event"] == "test"]
    trains = [e for e in events if e["event"] == "train"]
    last = events[-1]
    end = last if last["event"] in ("finished", "diverged", "error") else {}
    states = {"finished": "finished", "diverged": "diverged", "error": "failed"}
    return Result(
        id=run.id,
        row=row.name,
        seed=seed,
        state=states.get(end.get("event", ""), "unfinished"),
        iteration=last["iteration"],
        test_error=_error([end] if end.get("event") == "finished" else tests[-1:]),
        train_error=_error(_last_epoch(trains, sessions)),
        reason=end.get("reason"),
        protocol=tests[-1]["protocol"] if tests else None,
        seconds=end.get("seconds"),
        weights=end.get("weights"),
        train_curve=[(e["iteration"], _round(_error([e]))) for e in trains],
        test_curve=[(e["iteration"], _round(_error([e]))) for e in tests],
        sessions=sessions,
    )


def _last_epoch(trains: list[Event], sessions: list[dict[str, Any]]) -> list[Event]:
    """Return the last measurements that together cover as many images as the training set has."""
    wanted = sessions[-1]["num_train"] if sessions else 0
    taken: list[Event] = []
    for event in reversed(trains):
        if sum(e["num_images"] for e in taken) >= wanted:
            break
        taken.append(event)
    return taken


def _error(events: list[Event]) -> float | None:
    """Return the errors of all events over their images, %."""
    num_images = sum(event["num_images"] for event in events)
    return 100 * sum(event["num_errors"] for event in events) / num_images if events else None


def _round(error: float | None) -> float:
    assert error is not None
    return round(error, 3)
