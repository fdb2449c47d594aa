"""A composed configuration -> the rows of its table, each with its settings and seeds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError, nearest
from resnet_repro.plan import Plan, Row, Step
from resnet_repro.plan.checks import check_fails, check_measure
from resnet_repro.plan.rows import (
    Shipped,
    case_name,
    check_names,
    flat,
    has_no_network,
    make_ensemble,
    make_row,
    row_settings,
    start_from,
)
from resnet_repro.plan.sections import Sections
from resnet_repro.plan.steps import (
    Steps,
    after_steps,
    check_proposals,
    own_settings,
    recorded_words,
)
from resnet_repro.plan.swept import check_words, in_order, swept_plan
from resnet_repro.settings.experiment import ClaimConfig, PaperConfig, RowConfig
from resnet_repro.settings.mistakes import locate
from resnet_repro.settings.run import SECTIONS, RunConfig
from resnet_repro.settings.sweep import SweepConfig, Values, points, value_text

# Words of the command line that begin so say what is in the table; others say where it is computed.
CHANGING = (
    *(name for name in SECTIONS if name != "compute"),
    "steps",
    "every_step",
    "debug",
    "seeds",
)

# And in a sweep, whose table has selected rows alone.
OF_SWEEPS = ("row", "sweep", "baseline")

Recompose = Callable[[Sequence[str]], DictConfig]


def make_plan(
    config: DictConfig,
    shipped: DictConfig,
    overrides: Sequence[str],
    recompose: Recompose | None = None,
    recorded: Sequence[Values] = (),
    chosen: Sequence[str] = (),
) -> Plan:
    """Expand a composed configuration into rows and seeds.

    Args:
        config: The configuration as asked for.
        shipped: The same experiment with nothing changed; changes are measured from it.
        overrides: The words of the command line, `recipe.lr=0.2`; they win over what a row sets.
        recompose: Composes the configuration with more words; needed to sweep options of groups.
        recorded: Points of the same sweep that have records; they are rows, but not selected.
        chosen: Keys of a file that was chosen to change all rows; they win like those typed.

    Raises:
        UserError: There is no experiment, no such row, or a row's settings are wrong.
    """
    overridden = [_key(word) for word in overrides]
    ours = [key for key in overridden if key.split(".")[0] in ("rows", "paper", "name", "claims")]
    if ours:
        raise UserError(
            f"{ours[0]} cannot be changed on the command line: write your own experiment file"
        )
    results = Path(config.results)
    if not config.results or (results.exists() and not results.is_dir()):
        raise UserError(f"results={config.results}: it must be a folder")
    rows = _rows(config)
    paper: PaperConfig = OmegaConf.to_object(config.paper)  # type: ignore[assignment]
    check_fails(config.name, rows, paper)
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{config.name} has two rows named {double}")
    if all(row.cited for row in rows):
        raise UserError(f"{config.name} has no rows to run")
    sweep: SweepConfig = OmegaConf.to_object(config.sweep)  # type: ignore[assignment]
    asked_points = points(sweep)
    check_words(config.name, {_key(word): word for word in overrides}, asked_points)
    expansion = _Expansion(config, shipped, [*overridden, *chosen], rows, recompose)
    asked = _asked(config, rows, asked_points, sweep)
    made: list[Row] = []
    for point in in_order([*asked_points, *recorded]) if asked_points else [()]:
        made += expansion.cases(point, asked)
    if asked_points:
        order = {name: number for number, name in enumerate(names)}
        made.sort(key=lambda row: order[row.network])
    check_names(made)
    check_measure(config.name, paper.measures[0], made)
    selected = tuple(row.name for row in made if row.name in asked)
    kept = (*CHANGING, *OF_SWEEPS) if asked_points else CHANGING
    changing = [word for word in overrides if _key(word).split(".")[0] in kept]
    plan = Plan(
        name=config.name,
        paper=paper,
        rows=tuple(made),
        selected=selected,
        results=results,
        claims=_claims(
            config.name,
            config.sweep.claims if asked_points else config.claims,
            [row.name for row in made if not row.is_cited],
        ),
        changes=tuple(recorded_words(changing, expansion.steps)),
    )
    if not asked_points:
        return plan
    is_typed = "baseline" in overridden  # also baseline=null, which names a value
    baseline = config.baseline
    if baseline is None and not is_typed:
        baseline = sweep.baseline
    return swept_plan(plan, sweep, baseline, in_order([*asked_points, *recorded]), is_typed)


def _key(word: str) -> str:
    return word.lstrip("+~").split("=")[0]


def _rows(config: DictConfig) -> list[RowConfig]:
    try:
        return OmegaConf.to_object(config.rows)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(f"{config.name}: {locate(error)}") from error


def _asked(
    config: DictConfig, rows: Sequence[RowConfig], asked_points: list[Values], sweep: SweepConfig
) -> set[str]:
    """Return the names of the rows that `row=` selects; in a sweep, their cases or single ones."""
    runnable = [row.name for row in rows if not row.cited]
    cases = {row: [case_name(row, point) for point in asked_points or [()]] for row in runnable}
    given = sweep.rows if config.row is None else config.row
    if given is None:
        return {case for each in cases.values() for case in each}
    names = list(map(str, given if isinstance(given, list | ListConfig) else [given]))
    if not names:
        raise UserError(f"row=[]: name one of {', '.join(runnable)}")
    known = {case for each in cases.values() for case in each}
    for name in names:
        if name not in runnable and name not in known:
            if name in {row.name for row in rows}:
                raise UserError(f"row={name} is cited, not run")
            names_there = [*runnable, *known] if "=" in name else runnable
            raise UserError(f"{config.name} has no row {name}{nearest(name, names_there)}")
    return {case for name in names for case in cases.get(name, [name])}


class _Expansion:
    """The rows of an experiment, made for each point of a sweep, or once.

    Args:
        config: The configuration as asked for.
        shipped: The same experiment with nothing changed.
        overridden: The keys given on the command line.
        rows: The rows of the experiment's file.
        recompose: Composes the configuration with more words.
    """

    def __init__(
        self,
        config: DictConfig,
        shipped: DictConfig,
        overridden: list[str],
        rows: list[RowConfig],
        recompose: Recompose | None,
    ) -> None:
        self._config, self._overridden, self._rows = config, overridden, rows
        self._recompose = recompose
        theirs = _rows(shipped)
        base, their_steps = Sections(shipped), Steps(shipped)
        self._shipped: dict[str, Shipped] = {}
        for row in theirs:
            settings = None if has_no_network(row) else row_settings(base, own_settings(row), [])
            steps = () if has_no_network(row) else their_steps.of(row, [])
            self._shipped[row.name] = Shipped(settings, flat(settings, steps), steps)
        self._as_is = config is shipped and not overridden
        ours = (base, their_steps) if self._as_is else (Sections(config), Steps(config, overridden))
        self._bases: dict[tuple[str, ...], tuple[Sections, Steps]] = {(): ours}
        self._own_seeds = {row.name: row.seeds or [0] for row in rows}

    @property
    def steps(self) -> Steps:
        """The steps of the configuration as asked for."""
        return self._bases[()][1]

    def cases(self, point: Values, asked: set[str]) -> list[Row]:
        """Return the rows at a point; in a sweep, without cited ones."""
        made: dict[str, Row] = {}
        for row in self._rows:  # an ensemble stands after its members, a row after its start
            if point and row.cited:
                continue
            is_asked = case_name(row.name, point) in asked
            needed = {*row.members, *([row.starts_from] if row.starts_from else [])}
            if point and not is_asked and not needed <= made.keys():
                continue  # the values that are swept do not go with what it needs
            if row.members:
                (base, _), swept, _ = self._at(point)
                test = base.section("evaluation", (), swept)
                made[row.name] = make_ensemble(
                    self._config.name, row, made, self._own_seeds, test, point
                )
                continue
            try:
                settings, steps = self._settings(row, point), self._steps_of(row, point)
                if settings:
                    proposals = steps[-1].proposals if steps else None
                    check_proposals(f"row {row.name}", settings, proposals)
                if settings and steps:
                    settings = after_steps(settings, steps)
            except UserError:
                if is_asked:
                    raise
                if point:
                    continue  # the values that are swept do not go with this row
                # What was changed does not go with it.
                settings, steps = self._of(row).settings, self._of(row).steps
            seeds = self._config.sweep.seeds if self._config.seeds is None else self._config.seeds
            made[row.name] = make_row(
                row, settings, self._of(row), seeds, point, steps, self._overridden
            )
            if row.starts_from is not None:
                first = {name: each for name, each in made.items() if name != row.name}
                made[row.name] = start_from(
                    self._config.name, made[row.name], row.starts_from, first
                )
        return list(made.values())

    def _of(self, row: RowConfig) -> Shipped:
        return self._shipped.get(row.name, Shipped(None, {}, ()))

    def _steps_of(self, row: RowConfig, point: Values) -> tuple[Step, ...]:
        if row.cited or (self._as_is and not point):
            return self._of(row).steps
        (_, steps), settings, overridden = self._at(point)
        return steps.of(row, overridden, settings)

    def _settings(self, row: RowConfig, point: Values) -> RunConfig | None:
        if row.cited or (self._as_is and not point):
            return self._of(row).settings
        (base, _), settings, overridden = self._at(point)
        chosen = tuple(each for each in point if each not in settings)
        named = replace(row, name=case_name(row.name, chosen))  # for messages
        return row_settings(base, own_settings(named), overridden, settings)

    def _at(self, point: Values) -> tuple[tuple[Sections, Steps], Values, list[str]]:
        """Return what rows and steps are made from at a point of a sweep.

        That is the composed configuration with the options of groups that are swept, the values of
        the settings that are, and the keys given on the command line, with those options.
        """
        options = tuple(f"{key}={value_text(value)}" for key, value in point if "." not in key)
        overridden = [*self._overridden, *(word.split("=")[0] for word in options)]
        if options not in self._bases:
            assert self._recompose is not None, "options of groups are swept inside of Hydra"
            config = self._recompose(options)
            self._bases[options] = Sections(config), Steps(config, overridden)
        settings = tuple((key, value) for key, value in point if "." in key)
        return self._bases[options], settings, overridden


def _claims(name: str, config: Any, runnable: list[str]) -> tuple[ClaimConfig, ...]:  # noqa: ANN401
    try:
        claims: list[ClaimConfig] = OmegaConf.to_object(config)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise UserError(f"{name}: {locate(error)}") from error
    for claim in claims:
        for row in claim.rows:
            if row not in runnable:
                raise UserError(f"{name}: a claim is about {row}, which is no row to run")
    return tuple(claims)
