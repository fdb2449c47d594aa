"""What an explanation of a table's cells holds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_repro.report.tables import Line
from resnet_repro.strict_json import SPARE


@dataclass(frozen=True)
class Evidence:
    """The numbers from which a verdict was made.

    Attributes:
        reference: The paper's number that our mean is compared with, %.
        statistic: What it is: `mean`, `single`, `best_of_5`, ...
        spread: Standard deviation between runs, points.
        spread_of: `row`: of its own runs, and the one the paper prints; or `table`: of all rows on
            the same images.
        degrees_of_freedom: Degrees of freedom of the spread.
        num_runs: Runs of ours behind our mean.
        margin: Two values that differ by less match, points.
        power: Probability of detecting a difference as large as the margin.
    """

    reference: float
    statistic: str
    spread: float
    spread_of: str
    degrees_of_freedom: float
    num_runs: int
    margin: float
    power: float


@dataclass(frozen=True)
class ChangedSetting:
    """A setting that is not the experiment's."""

    setting: str
    here: Any
    experiment: Any


@dataclass(frozen=True)
class Session:
    """In which a run was trained, or a part of it; `code`: version of this program and commit."""

    started: str
    code: str
    torch: str
    machine: str
    processes: int
    data: str
    command: str


@dataclass(frozen=True)
class ExplainedRun:
    """A run behind a cell; errors and other values in %.

    Attributes:
        id: The run's id.
        seed: Its seed.
        state: As in its record: `finished`, `diverged`, `failed` or `unfinished`.
        reason: Why it diverged or failed.
        test_error: By the row's protocol; of a step without a row, by its own.
        top5_error: Likewise, where the images have so many classes that it is counted.
        train_error: Over the last epoch.
        iteration: Iterations done.
        seconds: Training time.
        weights: SHA-256 of the final weights.
        tested_weights: SHA-256 of the weights with which the row's test was made: one for each
            member of an ensemble, else one; empty where the test does not tell.
        folder: The folder of its files; None if only the file of records has it.
        damage: Why its folder cannot be read; None if it can.
        sessions: The sessions in which it was trained, first to last.
        values: Other measures of the table by key.
    """

    id: str
    seed: int
    state: str
    reason: str | None
    test_error: float | None
    top5_error: float | None
    train_error: float | None
    iteration: int
    seconds: float | None
    weights: str | None
    tested_weights: tuple[str, ...]
    folder: Path | None
    damage: str | None
    sessions: tuple[Session, ...]
    values: dict[str, float] = field(default_factory=dict, metadata=SPARE)


@dataclass(frozen=True)
class ExplainedRow:
    """A row of the table, and what is behind it.

    Attributes:
        row: Its name.
        is_ensemble: Whether the row averages other rows' networks.
        protocol: The key of the test behind its number.
        images: The images on which it is tested.
        line: Its line of the table: the paper's values, ours, the verdict.
        evidence: The numbers behind the verdict; None where it has none.
        evidence_top5: Likewise for the verdict on the top-5 error.
        settings: The settings that differ from the experiment's.
        source: What identifies the code of a network that is not ours; None for ours.
        runs: The runs, in the order of their seeds.
        needs: The members of an ensemble; or the runs that this row's runs need: from whose weights
            they start, or whose proposals they take, first those that are trained first.
        evidence_others: Likewise for the verdicts on the table's further measures, by key.
    """

    row: str
    is_ensemble: bool
    protocol: str
    images: str
    line: Line
    evidence: Evidence | None
    evidence_top5: Evidence | None
    settings: tuple[ChangedSetting, ...]
    source: str | None
    runs: tuple[ExplainedRun, ...]
    needs: tuple[ExplainedRun, ...]
    evidence_others: dict[str, Evidence] = field(default_factory=dict, metadata=SPARE)


@dataclass(frozen=True)
class Explanation:
    """Where the selected rows of an experiment come from.

    Attributes:
        experiment: Its name.
        paper: `He15`; None of one of our own.
        where: The place in the paper.
        records: Its file of records.
        rows: The rows.
    """

    experiment: str
    paper: str | None
    where: str
    records: Path
    rows: tuple[ExplainedRow, ...]
