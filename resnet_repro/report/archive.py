"""`results/<experiment>/records.json`: what tables and plots need of each run, to render again.

    {"format": 3, "experiment": "cifar_depth", "changes": ["recipe.precision=bf16"], "runs": [...]}

`changes` are the words of the command line with which the experiment is composed again.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnet_repro.errors import UserError
from resnet_repro.plan import Plan
from resnet_repro.records import write_atomically

NAME = "records.json"
FORMAT = 3
READABLE = (2, FORMAT)  # format 2 lacks what has a default here


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


@dataclass(frozen=True)
class Archive:
    """A file of records.

    Attributes:
        experiment: Its name.
        changes: See above.
        results: By id.
    """

    experiment: str
    changes: tuple[str, ...]
    results: dict[str, Result]


def write_archive(plan: Plan, results: Iterable[Result]) -> Path:
    """Write an experiment's results, those that have ended."""
    path = plan.folder / NAME
    content = {
        "format": FORMAT,
        "experiment": plan.name,
        "changes": plan.changes,
        "runs": [asdict(result) for result in results if result.ended],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content).replace('{"id"', '\n{"id"') + "\n")
    return path


def read_archive(path: Path) -> Archive:
    """Read a file of records, and check that it says nothing twice and contradicts itself nowhere.

    Raises:
        UserError: It is damaged, or of a version that is not read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] not in READABLE:
            raise UserError(
                f"{path} has format {content['format']}; this version reads "
                f"{' and '.join(map(str, READABLE))}: render it with the version that made it, or "
                f"delete it"
            )
        results = [Result(**run) for run in content["runs"]]
        _check(path, results)
        changes = tuple(content.get("changes", ()))
        return Archive(content["experiment"], changes, {result.id: result for result in results})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): bring it back from version control, or delete it"
        ) from error


def _check(path: Path, results: list[Result]) -> None:
    for id, number in Counter(result.id for result in results).items():
        if number > 1:
            raise UserError(f"{path} holds {id} {number} times: keep one of them")
    for result in results:
        named = re.search(r"-seed(\d+)-[0-9a-f]{8}$", result.id)
        if named and int(named[1]) != result.seed:
            raise UserError(
                f"{path}: {result.id} says that its seed is {result.seed}: which is it?"
            )
        for key, test in result.evaluations.items():
            number = test.get("num_images", 1)
            if not 0 <= test.get("num_errors", 0) <= number or number == 0:
                raise UserError(
                    f"{path}: {result.id}, {key}: {test['num_errors']} errors in {number} images"
                )


def find_archives(folder: Path) -> list[Path]:
    """Return the files of records in a folder: of one experiment, or of results as a whole.

    Raises:
        UserError: There is none.
    """
    if (folder / NAME).is_file():
        return [folder / NAME]
    found = sorted(folder.glob(f"*/{NAME}")) + sorted(folder.glob(f"*/changed-*/{NAME}"))
    if not found:
        raise UserError(f"{folder}: there is no {NAME} in it, nor in folders of experiments in it")
    return found


def pair_archives(ours: list[Path], theirs: list[Path]) -> list[tuple[Path, Path]]:
    """Return which files of two folders to compare: two single ones, or those of the same place.

    Raises:
        UserError: They have no experiment in common.
    """
    if len(ours) == len(theirs) == 1:
        pairs = [(ours[0], theirs[0])]
    else:
        places = [{_place(path): path for path in each} for each in (ours, theirs)]
        pairs = [(path, places[1][key]) for key, path in places[0].items() if key in places[1]]
    for one, other in pairs:
        names = read_archive(one).experiment, read_archive(other).experiment
        if names[0] != names[1]:
            raise UserError(
                f"{one} is of {names[0]}, {other} of {names[1]}: compare like with like"
            )
    if not pairs:
        raise UserError("the two folders have no experiment with the same settings in common")
    return pairs


def _place(path: Path) -> tuple[str, str]:
    """Return experiment and settings of a file, as its folders name them."""
    folder = path.parent
    if folder.name.startswith("changed-"):
        return folder.parent.name, folder.name
    return folder.name, ""
