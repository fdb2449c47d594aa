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
from resnet_repro.evaluation import EvaluationConfig
from resnet_repro.experiment import ExactCounts, PaperConfig, PaperValues, RowConfig
from resnet_repro.records import Record


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
    def digest(self) -> str:
        """Of the settings and the seed: the same ones are the same run, whatever row names it."""
        signed = json.dumps({**self.config.identity(), "seed": self.seed}, sort_keys=True)
        return _digest(signed)

    @property
    def id(self) -> str:
        """Name of the run's folder: the same settings give the same one on every machine."""
        return f"{_slug(self.row)}-seed{self.seed}-{self.digest}"


@dataclass(frozen=True)
class Ensemble:
    """Networks whose class probabilities are averaged.

    Attributes:
        row: The row's name.
        runs: The members.
        evaluation: How they are tested.
    """

    row: str
    runs: tuple[Run, ...]
    evaluation: EvaluationConfig

    @property
    def id(self) -> str:
        """Name of the ensemble's folder."""
        return (
            f"{_slug(self.row)}-of{len(self.runs)}-{_digest(' '.join(r.digest for r in self.runs))}"
        )


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: As printed.
        paper: What the paper prints.
        exact: What the network counts.
        fail_above: Test error above which a finished run is a "fail", %.
        seeds: Those asked for.
        config: Its settings (seed 0); None where the paper cites the row, and for an ensemble.
        deviations: `(key, value, value as shipped)` of what was changed: in the identity, or the
            protocol.
        ensemble: Of other rows' networks.
    """

    name: str
    paper: PaperValues
    exact: ExactCounts | None
    fail_above: float | None
    seeds: tuple[int, ...]
    config: RunConfig | None
    deviations: tuple[tuple[str, Any, Any], ...] = ()
    ensemble: Ensemble | None = None

    @property
    def is_cited(self) -> bool:
        """Whether the paper quotes the row from elsewhere."""
        return self.config is None and self.ensemble is None

    @property
    def protocol(self) -> str:
        """By which test its number is."""
        source = self.config or self.ensemble
        assert source is not None, f"{self.name} is cited"
        return source.evaluation.key

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
        names = re.compile(r".*-seed(\d+)-([0-9a-f]{8})")
        matches = [names.fullmatch(f.name) for f in runs.iterdir()] if runs.is_dir() else []
        found = {(int(match[1]), match[2]) for match in matches if match}
        return sorted({seed for seed, digest in found if self.run(seed).digest == digest})


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
        rows = [row for row in self.rows if row.name in self.selected and row.config]
        runs = [row.run(seed) for row in rows for seed in row.seeds]
        members = [run for ensemble in self.ensembles for run in ensemble.runs]
        return runs + [run for run in members if run not in runs]

    @property
    def ensembles(self) -> list[Ensemble]:
        """Every ensemble of the selected rows."""
        return [r.ensemble for r in self.rows if r.name in self.selected and r.ensemble]

    @property
    def folder(self) -> Path:
        """Where tables and plots go: apart from the experiment's own when settings were changed."""
        changes = sorted({str(change) for row in self.rows for change in row.deviations})
        if not changes:
            return self.results / self.name
        return self.results / self.name / f"changed-{_digest(''.join(changes))}"

    def state(self, run: Run) -> str:
        """Return how far a run is: as `Record.state`, but `trained` until it is tested: `done`."""
        record = Record(self.run_folder(run))
        state = record.state()
        if state != "finished":
            return state
        evaluation, there = run.config.evaluation, record.evaluations()
        tested = evaluation.key in there and ("responses" in there or not evaluation.responses)
        return "done" if tested or record.events()[-1]["event"] == "diverged" else "trained"

    def run_folder(self, run: Run | Ensemble) -> Path:
        """Where a run lives: the same run may have been trained under another row's name."""
        runs = self.results / "runs"
        if isinstance(run, Run) and not (runs / run.id).is_dir():
            others = sorted(runs.glob(f"*-seed{run.seed}-{run.digest}"))
            if others:
                return others[0]
        return runs / run.id


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
    theirs = OmegaConf.masked_copy(shipped, list(SECTIONS))
    as_shipped = {
        row.name: _settings(theirs, row, []) for row in _rows(shipped) if not _has_no_network(row)
    }
    as_is = config is shipped and not overridden
    base = None if as_is else OmegaConf.masked_copy(config, list(SECTIONS))
    made: dict[str, Row] = {}
    for row in rows:  # an ensemble stands after its members
        shipped_as = as_shipped.get(row.name)
        made[row.name] = (
            _make_ensemble(config, row, made)
            if row.members
            else _make_row(base, config.seeds, row, overridden, shipped_as, row.name in asked)
        )
    return Plan(
        name=config.name,
        paper=OmegaConf.to_object(config.paper),  # type: ignore[arg-type]
        rows=tuple(made.values()),
        selected=tuple(name for name in runnable if name in asked),
        results=results,
    )


def _rows(config: DictConfig) -> list[RowConfig]:
    try:
        return OmegaConf.to_object(config.rows)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(f"{config.name}: {locate(error)}") from error


def _make_row(
    base: DictConfig | None,
    asked_seeds: Any,  # noqa: ANN401
    row: RowConfig,
    overridden: list[str],
    shipped: RunConfig | None,
    needed: bool,
) -> Row:
    try:
        settings = shipped if base is None or row.cited else _settings(base, row, overridden)
    except UserError:
        if needed:
            raise
        settings = shipped  # what was asked of other rows does not go with this one
    ours, theirs = _compared(settings), _compared(shipped)
    keys = sorted(ours.keys() | theirs.keys())
    asked = [asked_seeds] if isinstance(asked_seeds, int) else asked_seeds
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


def _compared(settings: RunConfig | None) -> dict[str, Any]:
    """Return what makes a result another one than the experiment's."""
    if settings is None:
        return {}
    return settings.identity(defaults=True) | {"evaluation": settings.evaluation.key}


def _has_no_network(row: RowConfig) -> bool:
    return row.cited or bool(row.members)


def _make_ensemble(config: DictConfig, row: RowConfig, made: dict[str, Row]) -> Row:
    members = [made.get(name) for name in row.members]
    runs = [m.run(seed) for m in members if m and m.config for seed in m.seeds]
    if len([m for m in members if m and m.config]) < len(row.members):
        raise UserError(
            f"{config.name}, row {row.name}: its members are rows above it that are trained: "
            f"{', '.join(name for name, each in made.items() if each.config)}"
        )
    evaluation = OmegaConf.to_object(
        OmegaConf.merge(OmegaConf.structured(EvaluationConfig), config.evaluation)
    )
    assert isinstance(evaluation, EvaluationConfig)
    deviations = [d for m in members if m for d in m.deviations]
    return Row(
        name=row.name,
        paper=row.paper,
        exact=None,
        fail_above=None,
        seeds=(),
        config=None,
        deviations=tuple({str(d): d for d in deviations}.values()),
        ensemble=Ensemble(row.name, tuple(runs), evaluation),
    )


def _settings(base: DictConfig, row: RowConfig, overridden: list[str]) -> RunConfig:
    """Return the row's settings: the experiment's, then the row's own, then the command line's.

    Args:
        base: The sections of a run, as the experiment or the command line has them.
        row: The row.
        overridden: The keys given on the command line.
    """
    for key in row.set:
        if key.split(".")[0] not in SECTIONS:
            raise UserError(f"row {row.name} sets {key}: a row sets {', '.join(SECTIONS)}")
    own = dict(row.set)
    if {"evaluation", "evaluation.protocol"} & set(overridden):  # another test for every row
        own = {key: value for key, value in own.items() if not key.startswith("evaluation.")}
    try:
        typed = [key for key in overridden if key.split(".")[0] in SECTIONS and "." in key]
        changes = [*own.items(), *((key, OmegaConf.select(base, key)) for key in typed)]
        change = OmegaConf.create()
        for key, value in changes:
            OmegaConf.update(change, key, value)
        settings = OmegaConf.merge(base, change)
    except OmegaConfBaseException as error:
        raise UserError(f"row {row.name} sets {locate(error)}") from error
    try:
        return parse(settings)  # type: ignore[arg-type]
    except UserError as error:
        raise UserError(f"row {row.name}: {error}") from error
