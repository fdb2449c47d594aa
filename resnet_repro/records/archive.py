"""`results/<experiment>/records.json`: the part of each run that tables and plots need.

    {"format": 3, "experiment": "cifar_depth", "changes": ["recipe.precision=bf16"], "runs": [...]}

`changes` are the command line's overrides, with which the experiment is composed again.
"""

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.files import read_bytes, write_atomically
from resnet_repro.plan import Plan, Row
from resnet_repro.records.folders import SETTLED
from resnet_repro.records.schema import ANYTHING, COUNT, RECORDS, TEXT, check, check_result, list_of
from resnet_repro.strict_json import read_json

logger = logging.getLogger("resnet_repro")

RECORDS_FILE = "records.json"
FORMAT = 3
_warned: set[str] = set()
# The text of a file, what it holds, and what is wrong with each run.
_Read = tuple[str, dict[str, Any], list[str | None]]
_known: dict[Any, _Read] = {}  # the last one: a command asks for it several times


@dataclass(frozen=True)
class Result:
    """The result of one run so far.

    Attributes:
        id: The run's id.
        row: The name of the run's row.
        seed: The run's seed.
        state: The run's state: `finished`, `diverged`, `failed` or `unfinished`.
        iteration: The number of iterations done.
        evaluations: The counts of each test of the finished network, by protocol.
        train_error: The error over the mini-batches of the last epoch (or all, if fewer), in %; of
            a detector, that of the anchors or regions that are classified.
        reason: The reason why the run diverged or failed.
        num_unreadable: The number of unreadable photographs that were skipped.
        seconds: The training time; None before the end.
        energy: The GPU's energy in joules; None if unknown.
        weights: The SHA-256 of the final weights.
        train_curve: Pairs of iteration and training error in %, the error since the pair before.
        test_curve: Pairs of iteration and `headline` of a test in %: the error of a classifier, the
            mAP of a detector.
        sessions: The sessions of `environment.json`.
        loss_curve: Pairs of iteration and mean loss since the pair before, of a detector.
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
    loss_curve: list[tuple[int, float]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether the run has ended: it is finished, or diverged."""
        return self.state in ("finished", "diverged")

    @property
    def run(self) -> str:
        """The part of the id that is the same for all rows that share the run."""
        return self.id.rpartition("-seed")[2]

    def error(self, protocol: str, *, top5: bool = False) -> float | None:
        """Return the test error by a protocol, in %; None if it was not tested by that."""
        counts = self.evaluations.get(protocol, {})
        num_errors = counts.get("num_errors_top5" if top5 else "num_errors")
        return None if num_errors is None else 100 * num_errors / counts["num_images"]


@dataclass(frozen=True)
class Archive:
    """The content of a file of records.

    Attributes:
        experiment: The experiment's name.
        changes: The overrides of the experiment's settings.
        results: The results by run id.
        damaged: The error messages of runs that are left out, one line each.
    """

    experiment: str
    changes: tuple[str, ...]
    results: dict[str, Result]
    damaged: tuple[str, ...] = ()


def write_archive(plan: Plan, results: Iterable[Result]) -> Path:
    """Write an experiment's results; only runs that have ended are written.

    Raises:
        UserError: The existing file has damaged runs, which would be lost.
    """
    path = plan.folder / RECORDS_FILE
    if path.is_file() and read_archive(path, plan).damaged:
        raise UserError(f"{path} is not replaced: it has damaged runs, which would be lost")
    save_archive(path, Archive(plan.name, plan.changes, {each.id: each for each in results}))
    return path


def save_archive(path: Path, archive: Archive) -> None:
    """Write a file of records with the results of an archive that have ended."""
    runs = [asdict(result) for result in archive.results.values() if result.ended]
    for run in runs:
        if not run["loss_curve"]:  # a classifier's
            del run["loss_curve"]
        check_result(run)
    content = {
        "format": FORMAT,
        "experiment": archive.experiment,
        "changes": archive.changes,
        "runs": runs,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, allow_nan=False).replace('{"id"', '\n{"id"') + "\n"
    write_atomically(path, text)


def read_archive(path: Path, plan: Plan | None = None, packed: bytes | None = None) -> Archive:
    """Read a file of records as `load_archive` does, and warn of the runs that are left out."""
    archive = load_archive(path, plan, packed)
    for message in archive.damaged:
        warn_once(f"left out: {message}")
    return archive


def load_archive(path: Path, plan: Plan | None = None, packed: bytes | None = None) -> Archive:
    """Read a file of records.

    A run with an impossible value, or one that is listed twice, is left out and among `damaged`.

    Args:
        path: The file.
        plan: The experiment, where it is known: no run of it has more iterations than its recipe.
        packed: The file's bytes, where it is inside a tar or zip file and not on the disk.

    Raises:
        UserError: The whole file is damaged, or has an unknown format.
    """
    text, content, found = _read(path) if packed is None else _parse(path, packed)
    times = Counter(run["id"] for run in content["runs"] if isinstance(run.get("id"), str))
    rows = {row.name: row for row in plan.rows} if plan else {}
    results, damaged = {}, []
    for number, run in enumerate(content["runs"], start=1):
        try:
            if isinstance(found[number - 1], str):
                raise ValueError(found[number - 1])
            _check(run, times, rows)
            results[run["id"]] = Result(**run)
        except ValueError as error:
            name = run.get("id")
            is_known = isinstance(name, str) and name in times
            name, begin = (name, text.find(f'"{name}"')) if is_known else (number, 0)
            line = text.count("\n", 0, begin) + 1
            damaged.append(f"{path} at line {line}, run {name}: {error}")
    changes = tuple(content.get("changes", ()))
    return Archive(content["experiment"], changes, results, tuple(damaged))


def _read(path: Path) -> _Read:
    """Return a file of records, as far as it can be read without its experiment."""
    try:
        about = path.stat()
        key = path, about.st_ino, about.st_size, about.st_mtime_ns
    except OSError:  # the reason is told below
        about, key = None, None
    if key not in _known:
        read = _parse(path)
        # A file that has just been written may change again in the same tick of its clock.
        if about is None or time.time_ns() - about.st_mtime_ns <= SETTLED:
            return read
        _known.clear()
        _known[key] = read
    return _known[key]


def _parse(path: Path, packed: bytes | None = None) -> _Read:
    try:
        text = (packed or read_bytes(path) or b"").decode()
        content = read_json(text)
        check(content, {"format": COUNT}, more=ANYTHING)
        if content["format"] != FORMAT:
            raise UserError(
                f"{path} has format {content['format']}; this version reads {FORMAT}: use the "
                f"version that wrote it, or delete it"
            )
        check(
            content,
            {
                "format": COUNT,
                "experiment": TEXT,
                "changes": list_of(TEXT).optional,
                "runs": RECORDS,
            },
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): restore it from version control, or delete it"
        ) from error
    found: list[str | None] = []
    for run in content["runs"]:
        try:
            check_result(run)
            found.append(None)
        except ValueError as error:
            found.append(str(error))
    return text, content, found


def warn_once(message: str) -> None:
    """Log a warning once per process, as files are read more than once."""
    if message not in _warned:
        logger.warning("%s", message)
    _warned.add(message)


def _check(run: dict[str, Any], times: Counter[str], rows: Mapping[str, Row]) -> None:
    id, seed = run["id"], run["seed"]
    if times[id] > 1:
        raise ValueError(f"it is listed {times[id]} times: keep one of them")
    named = re.search(r"-seed(\d+)-[0-9a-f]{8}$", id)
    if named and int(named[1]) != seed:
        raise ValueError(f"id and seed disagree (seed {seed})")
    row = rows.get(run["row"])
    if row and row.config and row.run(seed).id == id:
        iterations = row.config.recipe.iterations
        curves = (*run["train_curve"], *run["test_curve"], *run.get("loss_curve", ()))
        last = max([run["iteration"], *(at for at, _ in curves)])
        if last > iterations:
            raise ValueError(f"iteration is {last}, of {iterations}")


def name_same_weights(results: Iterable[Result]) -> list[str]:
    """Return a line for each group of different runs that are recorded with the same weights.

    Two trainings end with bit-identical weights only where what differs has no effect, as a drop of
    the learning rate after the last iteration.
    """
    known: dict[str, dict[str, str]] = {}
    for result in results:
        if result.weights and result.state == "finished":
            known.setdefault(result.weights, {})[result.run] = result.id
    return [
        f"{' and '.join(ids.values())} have the same weights (SHA-256 {weights[:8]}): they are "
        f"copies of one training, or what differs in their settings had no effect"
        for weights, ids in known.items()
        if len(ids) > 1
    ]
