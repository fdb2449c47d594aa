"""A composed configuration -> the rows of its table, each with its settings and seeds."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError, nearest
from resnet_repro.plan import Ensemble, Plan, Row
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.experiment import ClaimConfig, RowConfig
from resnet_repro.settings.mistakes import locate
from resnet_repro.settings.run import SECTIONS, RunConfig, parse

# Words of the command line that begin so say what is in the table; others say where it is computed.
CHANGING = (*(name for name in SECTIONS if name != "compute"), "debug", "seeds")

Deviation = tuple[str, Any, Any]
_REFERENCE = re.compile(r"\$\{\.*(\w+)")


def make_plan(config: DictConfig, shipped: DictConfig, overrides: Sequence[str]) -> Plan:
    """Expand a composed configuration into rows and seeds.

    Args:
        config: The configuration as asked for.
        shipped: The same experiment with nothing changed; deviations are measured from it.
        overrides: The words of the command line, `recipe.lr=0.2`; they win over what a row sets.

    Raises:
        UserError: There is no experiment, no such row, or a row's settings are wrong.
    """
    overridden = [_key(word) for word in overrides]
    ours = [key for key in overridden if key.split(".")[0] in ("rows", "paper", "name", "claims")]
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
            if name in names:
                raise UserError(f"row={name} is cited, not run")
            raise UserError(f"{config.name} has no row {name}{nearest(name, runnable)}")
    theirs = _Sections(shipped)
    as_shipped = {
        row.name: _settings(theirs, row, []) for row in _rows(shipped) if not _has_no_network(row)
    }
    as_is = config is shipped and not overridden
    base = None if as_is else _Sections(config)
    made: dict[str, Row] = {}
    own_seeds = {row.name: row.seeds or [0] for row in rows}
    for row in rows:  # an ensemble stands after its members, a row after what it starts from
        shipped_as = as_shipped.get(row.name)
        made[row.name] = (
            _make_ensemble(config, row, made, own_seeds)
            if row.members
            else _make_row(base, config.seeds, row, overridden, shipped_as, row.name in asked)
        )
        if row.starts_from is not None:
            made[row.name] = _start(config.name, made[row.name], row.starts_from, made)
    return Plan(
        name=config.name,
        paper=OmegaConf.to_object(config.paper),  # type: ignore[arg-type]
        rows=tuple(made.values()),
        selected=tuple(name for name in runnable if name in asked),
        results=results,
        claims=_claims(config, runnable),
        changes=tuple(
            word
            for word, key in zip(overrides, overridden, strict=True)
            if key.split(".")[0] in CHANGING and key != "data.root"
        ),
    )


def _key(word: str) -> str:
    return word.lstrip("+~").split("=")[0]


def _claims(config: DictConfig, runnable: list[str]) -> tuple[ClaimConfig, ...]:
    try:
        claims: list[ClaimConfig] = OmegaConf.to_object(config.claims)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise UserError(f"{config.name}: {locate(error)}") from error
    for claim in claims:
        lowest = [claim.lowest] if claim.lowest else []
        for name in [*claim.falling, *lowest, *(claim.others or []), *claim.equal]:
            if name not in runnable:
                raise UserError(f"{config.name}: a claim is about {name}, which is no row to run")
    return tuple(claims)


def _rows(config: DictConfig) -> list[RowConfig]:
    try:
        return OmegaConf.to_object(config.rows)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(f"{config.name}: {locate(error)}") from error


def _make_row(
    base: "_Sections | None",
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
    is_list = asked_seeds is None or OmegaConf.is_list(asked_seeds)
    asked = asked_seeds if is_list else [asked_seeds]
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


def _start(experiment: str, row: Row, name: str, made: dict[str, Row]) -> Row:
    """Return a row that starts from another's weights; what was changed of that one changes it."""
    first = made.get(name)
    if row.config is None or first is None or first.config is None or first is row:
        raise UserError(
            f"{experiment}, row {row.name}: starts_from={name}: only a row that is trained starts "
            f"from another, a trained row above it"
        )
    return replace(row, starts_from=first, deviations=_united(row.deviations, first.deviations))


def _united(*deviations: Iterable[Deviation]) -> tuple[Deviation, ...]:
    return tuple({str(each): each for some in deviations for each in some}.values())


def _has_no_network(row: RowConfig) -> bool:
    return row.cited or bool(row.members)


def _make_ensemble(
    config: DictConfig, row: RowConfig, made: dict[str, Row], own_seeds: dict[str, list[int]]
) -> Row:
    """Return an ensemble of the networks that the experiment names, whatever `seeds=` says."""
    members = [made.get(name) for name in row.members]
    runs = [m.run(seed) for m in members if m and m.config for seed in own_seeds[m.name]]
    if len([m for m in members if m and m.config]) < len(row.members):
        raise UserError(
            f"{config.name}, row {row.name}: its members are rows above it that are trained: "
            f"{', '.join(name for name, each in made.items() if each.config)}"
        )
    evaluation = OmegaConf.to_object(
        OmegaConf.merge(OmegaConf.structured(EvaluationConfig), config.evaluation)
    )
    assert isinstance(evaluation, EvaluationConfig)
    return Row(
        name=row.name,
        paper=row.paper,
        exact=None,
        fail_above=None,
        seeds=(),
        config=None,
        deviations=_united(*(member.deviations for member in members if member)),
        ensemble=Ensemble(row.name, tuple(runs), evaluation),
    )


class _Sections:
    """The sections of a run as an experiment has them, before a row changes some.

    To check one takes milliseconds, and a table has dozens of rows: a section that no row changes
    is checked once.

    Attributes:
        config: All of them.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = OmegaConf.masked_copy(config, list(SECTIONS))
        texts = {name: str(self.config._get_node(name)) for name in SECTIONS}
        # `model.num_classes: ${data.num_classes}` follows what a row sets in another section.
        follows = {name: {*_REFERENCE.findall(text)} & {*SECTIONS} for name, text in texts.items()}
        self._followed = set().union(*follows.values())
        self._settled = {}
        for name in SECTIONS:
            if not follows[name]:
                # What is wrong in it is said when a row is made, with the row's name.
                with suppress(OmegaConfBaseException, UserError):
                    self._settled[name] = OmegaConf.to_object(self.config[name])

    def change(self, change: DictConfig) -> tuple[DictConfig, dict[str, Any]]:
        """Return the sections that a change can reach, changed, and the others as values."""
        settled = {name: value for name, value in self._settled.items() if name not in change}
        used = [name for name in SECTIONS if name not in settled or name in self._followed]
        changed = OmegaConf.masked_copy(self.config, used)
        changed.merge_with(change)
        return changed, settled


def _settings(base: _Sections, row: RowConfig, overridden: list[str]) -> RunConfig:
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
        changes = [*own.items(), *((key, OmegaConf.select(base.config, key)) for key in typed)]
        change = OmegaConf.create()
        for key, value in changes:
            OmegaConf.update(change, key, value)
        changed, settled = base.change(change)
    except OmegaConfBaseException as error:
        raise UserError(f"row {row.name} sets {locate(error)}") from error
    try:
        return parse(changed, settled)
    except UserError as error:
        raise UserError(f"row {row.name}: {error}") from error
