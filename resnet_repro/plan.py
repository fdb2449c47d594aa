"""An experiment as rows, and rows times seeds as runs: what to do, and under which names.

The only place that makes ids.
"""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.config import SECTIONS, RunConfig, locate, parse
from resnet_repro.errors import UserError
from resnet_repro.experiment import ExactCounts, PaperConfig, PaperValues, RowConfig


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _slug(name: str) -> str:
    """Return a row's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.+=-]+", "-", name).strip("-")


@dataclass(frozen=True)
class Run:
    """One network trained once: a row and a seed."""

    row: str
    config: RunConfig

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.config.seed

    @property
    def id(self) -> str:
        """Name of the run's folder: the same settings give the same one on every machine."""
        signed = json.dumps({**self.config.identity(), "seed": self.seed}, sort_keys=True)
        return f"{_slug(self.row)}-seed{self.seed}-{_digest(signed)}"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: As printed.
        paper: What the paper prints.
        exact: What the network counts.
        fail_above: Test error above which a finished run is a "fail", %.
        seeds: Those asked for.
        config: Its settings (seed 0); None where the paper cites the row.
        deviations: `(key, value, value as shipped)` of what was changed in the identity.
    """

    name: str
    paper: PaperValues
    exact: ExactCounts | None
    fail_above: float | None
    seeds: tuple[int, ...]
    config: RunConfig | None
    deviations: tuple[tuple[str, Any, Any], ...] = ()

    @property
    def is_network_as_shipped(self) -> bool:
        """Whether the row's exact counts are those of its network."""
        shape = ("model.", "data.num_classes", "data.image_size")
        return not any(key.startswith(shape) for key, _, _ in self.deviations)

    def run(self, seed: int) -> Run:
        """Return the row's run of a seed."""
        assert self.config is not None, f"{self.name} is cited"
        return Run(self.name, replace(self.config, seed=seed))

    def recorded_seeds(self, runs: Path) -> list[int]:
        """Return the seeds of this row's folders in `runs`, asked for or not."""
        names = re.compile(re.escape(_slug(self.name)) + r"-seed(\d+)-[0-9a-f]{8}")
        matches = [names.fullmatch(f.name) for f in runs.iterdir()] if runs.is_dir() else []
        seeds = {int(match[1]) for match in matches if match}
        return sorted(seed for seed in seeds if (runs / self.run(seed).id).is_dir())


@dataclass(frozen=True)
class Plan:
    """An experiment.

    Attributes:
        name: Of its file.
        paper: Where it is printed.
        rows: All lines of the table, in order.
        selected: Names of the rows to work on: `row=`, or all that can be run.
        results: The output root.
    """

    name: str
    paper: PaperConfig
    rows: tuple[Row, ...]
    selected: tuple[str, ...]
    results: Path

    @property
    def runs(self) -> list[Run]:
        """Every run of the selected rows in table order, seeds innermost."""
        rows = [row for row in self.rows if row.name in self.selected]
        return [row.run(seed) for row in rows for seed in row.seeds]

    @property
    def folder(self) -> Path:
        """Where tables and plots go: apart from the experiment's own when settings were changed."""
        changes = sorted({str(change) for row in self.rows for change in row.deviations})
        if not changes:
            return self.results / self.name
        return self.results / self.name / f"changed-{_digest(''.join(changes))}"

    def run_folder(self, run: Run) -> Path:
        """Where a run lives."""
        return self.results / "runs" / run.id


def make_plan(config: DictConfig, shipped: DictConfig, overridden: list[str]) -> Plan:
    """Expand a composed configuration into rows and seeds.

    Args:
        config: The configuration as asked for.
        shipped: The same experiment with nothing changed; deviations are measured from it.
        overridden: The keys given on the command line; they win over what a row sets.

    Raises:
        UserError: There is no experiment, no such row, or a row's settings are wrong.
    """
    ours = [key for key in overridden if key.split(".")[0] in ("rows", "paper", "name")]
    if ours:
        raise UserError(f"{ours[0]} is the experiment's own: write an experiment file of yours")
    results = Path(config.results)
    if not config.results or (results.exists() and not results.is_dir()):
        raise UserError(f"results={config.results}: it must be a folder")
    rows = _rows(config)
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{config.name} has two rows named {double}")
    runnable = [row.name for row in rows if not row.cited]
    if not runnable:
        raise UserError(f"{config.name} has no rows to run")
    asked = config.row if OmegaConf.is_list(config.row) else [config.row]
    asked = runnable if config.row is None else [str(name) for name in asked]
    if not asked:
        raise UserError(f"row=[]: name one of {', '.join(runnable)}")
    for name in asked:
        if name not in runnable:
            why = "is cited, not run" if name in names else "is not a row of it"
            raise UserError(f"row={name}: {why}; {config.name} has {', '.join(runnable)}")
    as_shipped = {
        row.name: _settings(shipped, row, []).identity(defaults=True)
        for row in _rows(shipped)
        if not row.cited
    }
    return Plan(
        name=config.name,
        paper=OmegaConf.to_object(config.paper),  # type: ignore[arg-type]
        rows=tuple(_make_row(config, row, overridden, as_shipped.get(row.name)) for row in rows),
        selected=tuple(name for name in runnable if name in asked),
        results=results,
    )


def _rows(config: DictConfig) -> list[RowConfig]:
    try:
        return OmegaConf.to_object(config.rows)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(f"{config.name}: {locate(error)}") from error


def _make_row(
    config: DictConfig, row: RowConfig, overridden: list[str], shipped: dict[str, Any] | None
) -> Row:
    settings = None if row.cited else _settings(config, row, overridden)
    ours = settings.identity(defaults=True) if settings else {}
    theirs = shipped or {}
    keys = sorted(ours.keys() | theirs.keys())
    asked = [config.seeds] if isinstance(config.seeds, int) else config.seeds
    seeds = asked if asked is not None else row.seeds or [0]
    if (
        not seeds
        or len(set(seeds)) < len(seeds)
        or not all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)
    ):
        raise UserError(f"seeds={list(seeds)}: different whole numbers from 0 to 2^32 - 1")
    return Row(
        name=row.name,
        paper=row.paper,
        exact=row.exact,
        fail_above=row.fail_above,
        seeds=tuple(seeds),
        config=settings,
        deviations=tuple(
            (key, ours.get(key), theirs.get(key))
            for key in keys
            if ours.get(key) != theirs.get(key)
        ),
    )


def _settings(config: DictConfig, row: RowConfig, overridden: list[str]) -> RunConfig:
    """Return the row's settings: the experiment's, then the row's own, then the command line's."""
    for key in row.set:
        if key.split(".")[0] not in SECTIONS:
            raise UserError(f"row {row.name} sets {key}: a row sets {', '.join(SECTIONS)}")
    settings = OmegaConf.masked_copy(config, list(SECTIONS))
    try:
        typed = [key for key in overridden if key.split(".")[0] in SECTIONS and "." in key]
        changes = [*row.set.items(), *((key, OmegaConf.select(config, key)) for key in typed)]
        for key, value in changes:
            change = OmegaConf.create()
            OmegaConf.update(change, key, value)
            settings = OmegaConf.merge(settings, change)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise UserError(f"row {row.name} sets {locate(error)}") from error
    try:
        return parse(settings)
    except UserError as error:
        raise UserError(f"row {row.name}: {error}") from error
