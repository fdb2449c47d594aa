"""What is known of an experiment's runs: read from their folders, or from a committed file.

`results/<experiment>/records.json` holds for each run what tables and plots need, so they render
again where the run folders are not.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.plan import Ensemble, Plan, Row
from resnet_repro.records import Event, Record, write_atomically

FORMAT = 2


@dataclass(frozen=True)
class Result:
    """One run, as far as it is.

    Attributes:
        id: Of the run.
        row: Its row's name.
        seed: Its seed.
        state: `finished`, `diverged`, `failed` or `unfinished`.
        iteration: Iterations done.
        evaluations: Counts of each test of the finished network, by protocol.
        train_error: Over the mini-batches of the last epoch or of all if there were fewer, %.
        reason: Why it diverged or failed.
        num_unreadable: Photographs left out.
        seconds: Time it took; None before the end.
        energy: Joules of the GPU, where it tells them.
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
    evaluations: dict[str, dict[str, Any]]
    train_error: float | None
    reason: str | None
    seconds: float | None
    weights: str | None
    train_curve: list[tuple[int, float]]
    test_curve: list[tuple[int, float]]
    sessions: list[dict[str, Any]]
    num_unreadable: int = 0
    energy: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it is a result: it reached its end, or diverged."""
        return self.state in ("finished", "diverged")

    @property
    def run(self) -> str:
        """What rows that share the run have in common of its ids."""
        return self.id.rpartition("-seed")[2]

    def error(self, protocol: str, *, top5: bool = False) -> float | None:
        """Return the test error by a protocol, %; None where it was not tested so."""
        counts = self.evaluations.get(protocol, {})
        num_errors = counts.get("num_errors_top5" if top5 else "num_errors")
        return None if num_errors is None else 100 * num_errors / counts["num_images"]


def collect(plan: Plan) -> dict[str, list[Result]]:
    """Return each row's results in the order of their seeds, of every seed there is.

    A run that ended in its folder counts before the committed file, one that is under way after it.
    """
    committed = _read_committed(plan)
    results: dict[str, list[Result]] = {}
    for row in plan.rows:
        if row.ensemble:
            here = _read_ensemble(plan, row.ensemble) or committed.get(row.ensemble.id)
            results[row.name] = [here] if here else []
        if row.config is None:
            continue
        seeds = set(row.recorded_seeds(plan.results / "runs"))
        seeds |= {r.seed for r in committed.values() if row.run(r.seed).id == r.id}
        each = [
            _choose(_read_run(plan, row, seed), committed.get(row.run(seed).id))
            for seed in sorted(seeds)
        ]
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
    if here and here.ended and committed and here.weights == committed.weights:
        return replace(here, evaluations={**committed.evaluations, **here.evaluations})
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
        evaluations=record.evaluations(),
        train_error=_error(_last_epoch(trains, sessions)),
        reason=end.get("reason"),
        seconds=end.get("seconds"),
        weights=end.get("weights"),
        num_unreadable=end.get("num_unreadable", 0),
        energy=end.get("energy"),
        train_curve=[(e["iteration"], _round(_error([e]))) for e in trains],
        test_curve=[(e["iteration"], _round(_error([e]))) for e in tests],
        sessions=sessions,
    )


def _read_ensemble(plan: Plan, ensemble: Ensemble) -> Result | None:
    evaluations = Record(plan.run_folder(ensemble)).evaluations()
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
