"""A plan as a sweep: what is swept, in which order, and compared with what."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from resnet_repro.errors import UserError
from resnet_repro.plan import Plan, Row, Sweep
from resnet_repro.settings.sweep import (
    SweepConfig,
    Values,
    grid_words,
    point_text,
    typed,
    value_text,
)


def check_words(experiment: str, by_key: Mapping[str, str], all_points: Sequence[Values]) -> None:
    """Check that the words of a command line go with what is swept.

    Args:
        experiment: The experiment's name.
        by_key: The words by their keys.
        all_points: The points that are asked for; none without a sweep.

    Raises:
        UserError: Words have no use, or two of them say different things.
    """
    words = [
        word
        for key, word in by_key.items()
        if key.split(".")[0] in ("sweep", "baseline") and not word.endswith("=null")
    ]
    if not all_points and words:
        raise UserError(
            f"{words[0]}: no setting has several values: type them, recipe.lr=0.05,0.1"
            + (", or list them in the file under vary:" if "sweep" in by_key else "")
        )
    if all_points and not words:
        raise UserError(
            f"{experiment}: a sweep does not belong in an experiment or in this machine's "
            f"settings: put it in sweep/NAME.yaml and type sweep=NAME"
        )
    if "sweep" in by_key and (more := by_key.keys() & {"sweep.grid", "sweep.zip"}):
        given = " ".join(typed(by_key[key] for key in sorted(more)))
        raise UserError(
            f"{by_key['sweep']} has values of its own, and {given} is typed too: leave out one of "
            f"them, or change the file"
        )
    swept = [key for key, _ in all_points[0]] if all_points else []
    for key, word in by_key.items():
        if any(key == each or ("." in each and key.startswith(f"{each}.")) for each in swept):
            raise UserError(f"{word} is typed, and {key} is swept: leave out one of them")
    group = next((key for key in swept if "." not in key), None)
    if group and by_key.get("debug", "").partition("=")[2] not in ("", "null"):
        raise UserError(  # what it sets inside of the group would look like the group's own
            f"{by_key['debug']} changes settings inside of {group}, which is swept: type them one "
            f"by one, recipe.iterations=4"
        )


def in_order(all_points: Sequence[Values]) -> list[Values]:
    """Return points, each once: numbers rise, other values stay as they were named."""
    ranks: dict[str, dict[str, int]] = {}
    for key in (key for key, _ in all_points[0]):
        values = list({value_text(v): v for p in all_points for k, v in p if k == key}.items())
        if all(isinstance(v, int | float) and not isinstance(v, bool) for _, v in values):
            values.sort(key=lambda each: each[1])
        ranks[key] = {text: rank for rank, (text, _) in enumerate(values)}
    once = {point_text(point): point for point in all_points}
    return sorted(once.values(), key=lambda p: [ranks[key][value_text(v)] for key, v in p])


def swept_plan(
    plan: Plan,
    sweep: SweepConfig,
    baseline: Any,  # noqa: ANN401
    all_points: list[Values],
    is_typed: bool,
) -> Plan:
    """Return a plan as a sweep: with its own title and claims, and the words that make it again.

    Args:
        plan: The rows of all points.
        sweep: The settings of the sweep.
        baseline: The value that the others are compared with; None: the shipped one.
        all_points: The points.
        is_typed: Whether the baseline was typed; None is then a value.

    Raises:
        UserError: Two points are one run, or the baseline is none of them.
    """
    keys = tuple(key for key, _ in all_points[0])
    made = Sweep(keys)
    if not made.is_of_speed:
        _check_cases([row for row in plan.rows if row.name in plan.selected])
    name = next((w.partition("=")[2] for w in plan.changes if w.startswith("sweep=")), "")
    replaced = ("sweep=", "sweep.grid=", "sweep.zip=")
    kept = [word for word in plan.changes if not word.startswith(replaced)]
    made_by = [f"sweep={name}"] if name else grid_words(all_points)
    paper = replace(
        plan.paper,
        title=sweep.title or f"{plan.paper.title}; varied: {', '.join(keys)}",
        figure=None,
        max_error=None,
    )
    return replace(
        plan,
        paper=paper,
        changes=(*kept, *made_by),
        sweep=replace(made, name=name, baseline=_baseline(baseline, keys, all_points, is_typed)),
    )


def _check_cases(rows: Sequence[Row]) -> None:
    """Raise a UserError where two cases of a row would be one run."""
    known: dict[str, Row] = {}
    for row in rows:
        if row.config is None:
            continue
        settings = f"{row.of} {row.config.identity()} {row.protocol}"
        if (other := known.setdefault(settings, row)) is not row:
            raise UserError(
                f"{other.name} and {point_text(row.point)} are the same run: what differs does "
                f"not change its result; leave out one of them"
            )


def _baseline(
    given: Any,  # noqa: ANN401
    keys: tuple[str, ...],
    all_points: list[Values],
    is_typed: bool,
) -> Values | None:
    """Return the point that `baseline=` names; `baseline=null` the one whose value is null."""
    if given is None:
        nulls = (point for point in all_points if is_typed and [v for _, v in point] == [None])
        return next(nulls, None)
    value = OmegaConf.to_object(given) if OmegaConf.is_config(given) else given
    texts = [
        value_text(v) for v in (value if len(keys) > 1 and isinstance(value, list) else [value])
    ]
    for point in all_points:
        if [value_text(value) for _, value in point] == texts:
            return point
    choices = "; ".join(point_text(point) for point in all_points[:9])
    raise UserError(
        f"baseline={','.join(texts)} is none of the values of the sweep: {choices}"
        + (" ..." if len(all_points) > 9 else "")
        + ("; of several settings, type baseline=[VALUE,VALUE]" if len(keys) > 1 else "")
    )
