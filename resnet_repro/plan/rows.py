"""Rows of an experiment with their settings: the experiment's, the row's, the command line's."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError
from resnet_repro.plan import Change, Ensemble, Row
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.experiment import PaperValues, RowConfig
from resnet_repro.settings.mistakes import about_setting, locate
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.own_model import chosen_settings, refuse_foreign
from resnet_repro.settings.run import SECTIONS, RunConfig, parse
from resnet_repro.settings.sweep import Values, point_text

NUM_CLASSES = "model.num_classes"
_REFERENCE = re.compile(r"\$\{\.*(\w+)")


class Sections:
    """The sections of a run as an experiment has them, before a row changes some.

    To check one takes milliseconds, and a table has dozens of rows: a section that no row changes
    is checked once.

    Attributes:
        config: All sections.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = OmegaConf.masked_copy(config, list(SECTIONS))
        texts = {name: str(self.config._get_node(name)) for name in SECTIONS}
        # `model.num_classes: ${data.num_classes}` follows what a row sets in another section.
        follows = {name: {*_REFERENCE.findall(text)} & {*SECTIONS} for name, text in texts.items()}
        self._followed = set().union(*follows.values())
        self._settled = {}
        for name in SECTIONS:
            if not follows[name] and name != "model":  # a row may take another network's
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
    try:
        typed = [key for key in overridden if key.split(".")[0] in SECTIONS and "." in key]
        given = [*((key, OmegaConf.select(base.config, key)) for key in typed), *point]
        network = dict(given).get("model.name", own.get("model.name"))
        if network != own.get("model.name", network):  # another one, without the row's settings
            own = {k: v for k, v in own.items() if not f"{k}.".startswith("model.settings.")}
        changes = [*own.items(), *given]
        change = OmegaConf.create()
        for key, value in changes:
            OmegaConf.update(change, key, value)
        changed, settled = base.change(change)
    except OmegaConfBaseException as error:
        if point:
            raise UserError(f"{case_name(row.name, point)}: {about_setting(error)}") from error
        raise UserError(f"row {row.name} sets {locate(error)}") from error
    try:
        chosen = own if network and network == own.get("model.name") else {}
        refuse_foreign(changed.model, [*dict(given), *chosen])
        return parse(changed, settled)
    except UserError as error:
        raise UserError(f"row {case_name(row.name, point)}: {error}") from error


def case_name(row: str, point: Values) -> str:
    """Return the name of a row's case in a sweep: `ResNet-20 recipe.lr=0.05`."""
    return f"{row} {point_text(point)}" if point else row


def make_row(
    row: RowConfig,
    settings: RunConfig | None,
    shipped: RunConfig | None,
    asked_seeds: Any,  # noqa: ANN401
    point: Values = (),
) -> Row:
    """Return a row that is trained or cited.

    Args:
        row: The row of the experiment's file.
        settings: Its settings; None where it is cited.
        shipped: The same as the experiment has them, from which changes are measured.
        asked_seeds: `seeds=`; None for the row's own.
        point: In a sweep, the row's values of the settings that are swept.

    Raises:
        UserError: The seeds are not seeds.
    """
    ours, theirs = _compared(settings, shipped)
    is_list = asked_seeds is None or OmegaConf.is_list(asked_seeds) or isinstance(asked_seeds, list)
    asked = asked_seeds if is_list else [asked_seeds]
    seeds = asked if asked is not None else row.seeds or [0]
    if (
        not seeds
        or len(set(seeds)) < len(seeds)
        or not all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)
    ):
        raise UserError(f"seeds={list(seeds)}: different whole numbers from 0 to 2^32 - 1")
    made = Row(
        name=case_name(row.name, point),
        paper=row.paper,
        exact=row.exact,
        fail_above=row.fail_above,
        seeds=tuple(seeds),
        config=settings,
        changes=tuple(
            (key, ours.get(key), theirs.get(key))
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ),
        of=row.name if point else None,
        point=point,
    )
    return _as_case(made)


def _as_case(row: Row) -> Row:
    """Return a row with the paper's numbers only where its settings are the paper's."""
    return row if row.is_at_shipped_point else replace(row, paper=PaperValues())


def _compared(
    settings: RunConfig | None, shipped: RunConfig | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what makes a result another one than the experiment's, as it is here and there."""
    ours, theirs = _flat(settings), _flat(shipped)
    if settings is None or shipped is None or settings.model.name == shipped.model.name:
        return ours, theirs
    if isinstance(settings.model, ModelConfig) and isinstance(shipped.model, ModelConfig):
        return ours, theirs
    # Networks of different kinds have no settings in common.
    ours = {key: value for key, value in ours.items() if not key.startswith("model.")}
    theirs = {k: v for k, v in theirs.items() if k in ours or k in ("model.name", NUM_CLASSES)}
    ours |= {**chosen_settings(settings.model), NUM_CLASSES: settings.model.num_classes}
    return ours, theirs


def _flat(settings: RunConfig | None) -> dict[str, Any]:
    if settings is None:
        return {}
    return settings.identity(defaults=True) | {"evaluation": settings.evaluation.key}


def has_no_network(row: RowConfig) -> bool:
    """Return whether a row is not trained itself."""
    return row.cited or bool(row.members)


def make_ensemble(
    config: DictConfig,
    row: RowConfig,
    made: Mapping[str, Row],
    own_seeds: Mapping[str, list[int]],
    point: Values = (),
) -> Row:
    """Return an ensemble of the networks that the experiment names, whatever `seeds=` says.

    Args:
        config: The composed configuration.
        row: The row of the experiment's file.
        made: The rows above it, by their names in that file.
        own_seeds: The seeds that the file gives each row.
        point: In a sweep, the values of the settings that are swept.

    Raises:
        UserError: A member is not a trained row above it.
    """
    members = [made.get(name) for name in row.members]
    runs = [m.run(seed) for m in members if m and m.config for seed in own_seeds[m.of or m.name]]
    if len([m for m in members if m and m.config]) < len(row.members):
        raise UserError(
            f"{config.name}, row {row.name}: its members are rows above it that are trained: "
            f"{', '.join(name for name, each in made.items() if each.config)}"
        )
    evaluation = OmegaConf.to_object(
        OmegaConf.merge(OmegaConf.structured(EvaluationConfig), config.evaluation)
    )
    assert isinstance(evaluation, EvaluationConfig)
    name = case_name(row.name, point)
    return _as_case(
        Row(
            name=name,
            paper=row.paper,
            exact=None,
            fail_above=None,
            seeds=(),
            config=None,
            changes=_united(*(member.changes for member in members if member)),
            ensemble=Ensemble(name, tuple(runs), evaluation),
            of=row.name if point else None,
            point=point,
        )
    )


def start_from(experiment: str, row: Row, name: str, made: Mapping[str, Row]) -> Row:
    """Return a row that starts from another's weights; what was changed of that one changes it.

    Args:
        experiment: The experiment's name.
        row: The row.
        name: The name of the other, in the experiment's file.
        made: The rows above, by their names in that file.

    Raises:
        UserError: One of them is not trained, or the other is not above.
    """
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
