"""Rows of an experiment with their settings: the experiment's, the row's, the command line's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError
from resnet_repro.plan import Change, Ensemble, Row, Step
from resnet_repro.plan.names import slug
from resnet_repro.plan.sections import Sections
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.experiment import PaperValues, RowConfig
from resnet_repro.settings.external_model import chosen_settings, refuse_foreign
from resnet_repro.settings.mistakes import about_setting, locate
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import SECTIONS, RunConfig
from resnet_repro.settings.sweep import Values, point_text

NUM_CLASSES = "model.num_classes"


def row_settings(
    base: Sections, row: RowConfig, overridden: Sequence[str], point: Values = ()
) -> RunConfig:
    """Return a row's settings: the experiment's, the row's own, the command line's, the sweep's.

    Args:
        base: The sections of a run, as the experiment or the command line has them.
        row: The row.
        overridden: The keys given on the command line.
        point: The row's values of the settings that are swept, without options of groups.

    Raises:
        UserError: A setting has a wrong name or value; the row is named.
    """
    for key in row.set:
        if key.split(".")[0] not in SECTIONS:
            raise UserError(f"row {row.name} sets {key}: a row sets {', '.join(SECTIONS)}")
    keys = {*overridden, *(key for key, _ in point)}
    own = dict(row.set)
    if {"evaluation", "evaluation.protocol"} & keys:  # another test for every row
        own = {key: value for key, value in own.items() if not key.startswith("evaluation.")}
    typed = [key for key in overridden if key.split(".")[0] in SECTIONS and "." in key]
    try:
        given = [*((key, OmegaConf.select(base.config, key)) for key in typed), *point]
        network = dict(given).get("model.name", own.get("model.name"))
        if network != own.get("model.name", network):  # another one, without the row's settings
            own = {k: v for k, v in own.items() if not f"{k}.".startswith("model.settings.")}
        chosen = own if network and network == own.get("model.name") else {}
        name = network or OmegaConf.select(base.config, "model.name")
        refuse_foreign(name, [*dict(given), *chosen])
        changes = [*own.items(), *given[: len(typed)]]
        return RunConfig(**base.make(changes, point))
    except OmegaConfBaseException as error:
        if point:
            raise UserError(f"{case_name(row.name, point)}: {about_setting(error)}") from error
        raise UserError(f"row {row.name} sets {locate(error)}") from error
    except UserError as error:
        raise UserError(f"row {case_name(row.name, point)}: {error}") from error


def case_name(row: str, point: Values) -> str:
    """Return the name of a row's case in a sweep: `ResNet-20 recipe.lr=0.05`."""
    return f"{row} {point_text(point)}" if point else row


class Shipped(NamedTuple):
    """A row's settings as shipped (None where it is not trained), flat, and its steps."""

    settings: RunConfig | None
    flat: dict[str, Any]
    steps: tuple[Step, ...] = ()


def make_row(
    row: RowConfig,
    settings: RunConfig | None,
    shipped: Shipped,
    asked_seeds: Any,  # noqa: ANN401
    point: Values = (),
    steps: tuple[Step, ...] = (),
    typed: Sequence[str] = (),
) -> Row:
    """Return a row that is trained or cited.

    Args:
        row: The row of the experiment's file.
        settings: Its settings; None where it is cited.
        shipped: The settings as the experiment has them, from which changes are measured.
        asked_seeds: `seeds=`; None for the row's own.
        point: In a sweep, the row's values of the settings that are swept.
        steps: The steps of its training.
        typed: The keys of the command line.

    Raises:
        UserError: The seeds are not seeds.
    """
    ours, theirs = _compared(settings, shipped, steps)
    is_list = asked_seeds is None or OmegaConf.is_list(asked_seeds) or isinstance(asked_seeds, list)
    asked = asked_seeds if is_list else [asked_seeds]
    seeds = asked if asked is not None else row.seeds or [0]
    if (
        not seeds
        or len(set(seeds)) < len(seeds)
        or not all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    ):
        raise UserError(f"seeds={list(seeds)}: distinct whole numbers from 0 to 2^32 - 1")
    made = Row(
        name=case_name(row.name, point),
        paper=row.paper,
        exact=row.exact,
        seeds=tuple(seeds),
        config=settings,
        steps=steps,
        changes=tuple(
            (key, ours.get(key), theirs.get(key))
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ),
        of=row.name if point else None,
        point=point,
        fail_above=row.fail_above,
        fail_below=row.fail_below,
        typed=tuple(typed),
    )
    return _as_case(made)


def check_names(rows: Iterable[Row]) -> None:
    """Raise a UserError where two tests of one network would be stored under one name."""
    known: dict[str, Row] = {}
    for row in rows:
        other = known.setdefault(slug(row.name), row) if row.config else row
        if (
            other is not row
            and other.protocol != row.protocol
            and other.run(0).digest == row.run(0).digest
        ):
            raise UserError(
                f"rows {other.name} and {row.name} need names that differ in letters or digits"
            )


def _as_case(row: Row) -> Row:
    """Return a row with the paper's numbers only where its settings are the paper's."""
    return row if row.is_at_shipped_point else replace(row, paper=PaperValues())


def _compared(
    settings: RunConfig | None, shipped: Shipped, steps: tuple[Step, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what makes a result another one than the experiment's, as it is here and there."""
    ours, theirs, there = flat(settings, steps), shipped.flat, shipped.settings
    here = {step.name for step in steps}
    # A step in whose place there is a file is not there; the file is a change of the next one.
    replaced = tuple(f"steps.{step.name}." for step in shipped.steps if step.name not in here)
    theirs = {key: value for key, value in theirs.items() if not key.startswith(replaced)}
    if settings is None or there is None or settings.model.name == there.model.name:
        return ours, theirs
    if isinstance(settings.model, ModelConfig) and isinstance(there.model, ModelConfig):
        return ours, theirs
    # Networks of different kinds have no settings in common.
    ours = {key: value for key, value in ours.items() if not key.startswith("model.")}
    theirs = {k: v for k, v in theirs.items() if k in ours or k in ("model.name", NUM_CLASSES)}
    ours |= {**chosen_settings(settings.model), NUM_CLASSES: settings.model.num_classes}
    return ours, theirs


def flat(settings: RunConfig | None, steps: tuple[Step, ...] = ()) -> dict[str, Any]:
    """Return the settings that are compared to find changes, flat, with those of earlier steps."""
    if settings is None:
        return {}
    found = settings.identity(defaults=True) | {"evaluation": settings.evaluation.key}
    for step in steps:
        where = f"steps.{step.name}"
        found[f"{where}.seed"] = step.seed
        found[f"{where}.weights"] = step.weights and Path(step.weights).name
        own = step.config.identity(defaults=True) if step.config else {}
        found |= {f"{where}.{k}": own[k] for k in own if k.split(".")[0] in step.sections}
    return found


def has_no_network(row: RowConfig) -> bool:
    """Return whether a row is not trained itself."""
    return row.cited or bool(row.members)


def make_ensemble(
    experiment: str,
    row: RowConfig,
    made: Mapping[str, Row],
    own_seeds: Mapping[str, list[int]],
    evaluation: EvaluationConfig,
    point: Values = (),
) -> Row:
    """Return an ensemble of the networks that the experiment names, whatever `seeds=` says.

    Args:
        experiment: The experiment's name.
        row: The row of the experiment's file.
        made: The rows above it, by their names in that file.
        own_seeds: The seeds that the file gives each row.
        evaluation: The test.
        point: In a sweep, the values of the settings that are swept.

    Raises:
        UserError: A member is not a trained row above it.
    """
    members = [made.get(name) for name in row.members]
    runs = [m.run(seed) for m in members if m and m.config for seed in own_seeds[m.network]]
    if len([m for m in members if m and m.config]) < len(row.members):
        raise UserError(
            f"{experiment}, row {row.name}: its members are rows above it that are trained: "
            f"{', '.join(name for name, each in made.items() if each.config)}"
        )
    _check_members(f"{experiment}, row {row.name}", [run.config for run in runs])
    name = case_name(row.name, point)
    return _as_case(
        Row(
            name=name,
            paper=row.paper,
            exact=None,
            seeds=(),
            config=None,
            changes=_united(*(member.changes for member in members if member)),
            ensemble=Ensemble(name, tuple(runs), evaluation),
            of=row.name if point else None,
            point=point,
        )
    )


def _check_members(what: str, members: Sequence[RunConfig]) -> None:
    """Check that detectors can look at a photograph together; classifiers only average.

    Raises:
        UserError: They have boxes that nothing pairs, or differ in precision.
    """
    detectors = [each for each in members if each.detector.is_used]
    if any(each.detector.step == "localisation" for each in detectors):
        raise UserError(
            f"{what}: its members have boxes of their own; only those of localisation_regions, "
            f"which classify the same regions, can be averaged"
        )
    precisions = dict.fromkeys(each.recipe.precision for each in detectors)
    if len(precisions) > 1:
        raise UserError(
            f"{what}: its members are computed in {' and '.join(precisions)}; set one "
            f"recipe.precision for all"
        )


def start_from(experiment: str, row: Row, name: str, made: Mapping[str, Row]) -> Row:
    """Return a row that starts from another's weights; what was changed of that one changes it.

    Args:
        experiment: The experiment's name.
        row: The row.
        name: The name of the other, in the experiment's file.
        made: The rows above, by their names in that file.

    Raises:
        UserError: One of them is not trained, the other is not above, or the row has steps.
    """
    if row.steps:
        raise UserError(
            f"{experiment}, row {row.name}: starts_from={name}: its steps say what it starts from; "
            f"leave one of the two out"
        )
    first = made.get(name)
    if row.config is None or first is None or first.config is None:
        raise UserError(
            f"{experiment}, row {row.name}: starts_from={name}: only a row that is trained starts "
            f"from another, a trained row above it"
        )
    changes = _united(row.changes, first.changes)
    return _as_case(replace(row, starts_from=first, changes=changes))


def _united(*changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple({str(each): each for some in changes for each in some}.values())
