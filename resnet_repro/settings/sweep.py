"""Settings that take several values: what a sweep is, on a command line and in `conf/sweep`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product
from math import prod
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Sweep, ValueType
from hydra.errors import HydraException

from resnet_repro.errors import UserError
from resnet_repro.settings.experiment import ClaimConfig
from resnet_repro.settings.words import TEXTS, quoted, select

# Sections of a run's settings whose keys may be swept, and the options of their groups.
SWEPT = ("model", "data", "recipe", "evaluation", "compute")
MAX_POINTS = 100_000
LARGEST_WHOLE = 1e15  # float that is written without exponent or decimals
# Kinds of values in Hydra's notation that list what they stand for.
LISTED = (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP, ValueType.RANGE_SWEEP)
# One value of each swept setting, in the order of the settings.
Values = tuple[tuple[str, Any], ...]


@dataclass(kw_only=True)
class SweepConfig:
    """A question of one's own: rows of an experiment, trained with several values of a setting.

    Attributes:
        experiment: The experiment whose rows are trained; in a file.
        rows: Names of the rows; null for all of them. `row=` selects others.
        seeds: The seeds of each row and value; null for the rows' own. `seeds=` takes others.
        title: Caption of the table.
        vary: The values of each setting, by its key: a list, or a text in Hydra's notation:
            `range(1, 4)`. An option of a group is a value too: `recipe: [cifar_64k, quickstart]`.
        grid: Likewise, as words of a command line: `recipe.lr=0.05,0.1`.
        zip: Whether the first values of all settings go together, then the second ones, and so on;
            else every combination is trained.
        baseline: The value that the others are compared with, a list where several settings vary;
            null for the experiment's own.
        claims: What the table is to show; rows are named `ResNet-20 recipe.lr=0.05`.
    """

    experiment: str | None = None
    rows: list[str] | None = None
    seeds: list[int] | None = None
    title: str = ""
    vary: dict[str, Any] = field(default_factory=dict)
    grid: list[str] = field(default_factory=list)
    zip: bool = False
    baseline: Any = None
    claims: list[ClaimConfig] = field(default_factory=list)


def is_swept(word: str) -> bool:
    """Return whether a word of a command line gives several values to a setting of a run."""
    key = word.partition("=")[0]
    return key.split(".")[0] in SWEPT and key not in TEXTS and has_several_values(word)


def has_several_values(word: str) -> bool:
    """Return whether a word of a command line gives several values to whatever it sets."""
    return bool({",", "("} & set(word)) and _several(word) is not None


def points(sweep: SweepConfig) -> list[Values]:
    """Return the combinations of values that a sweep asks for, in order; none without a sweep.

    Raises:
        UserError: A setting has no values or the same one twice, or cannot be swept; lists of
            different lengths are to go together.
    """
    words = [*(_word(key, values) for key, values in _flat(sweep.vary)), *sweep.grid]
    values: dict[str, list[Any]] = {}
    for word in words:
        key = word.partition("=")[0]
        if key.split(".")[0] not in SWEPT or key in TEXTS:
            raise UserError(f"sweep over {key}: only settings of a run are swept, those of "
                            f"{', '.join(SWEPT)}")  # fmt: skip
        values[key] = _values(word)
    _check_keys(values)
    number = prod(map(len, values.values()))
    if not sweep.zip and number > MAX_POINTS:
        raise UserError(
            f"the sweep has {number:,} combinations of values, of at most {MAX_POINTS:,}"
        )
    if not sweep.zip:
        combined: Iterable[Sequence[Any]] = product(*values.values()) if values else ()
    else:
        lengths = {key: len(each) for key, each in values.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{key} {length}" for key, length in lengths.items())
            raise UserError(
                f"sweep.zip=true needs the same number of values for each setting: {counts}"
            )
        combined = zip(*values.values(), strict=True)
    found = [tuple(zip(values, each, strict=True)) for each in combined]
    texts: set[str] = set()
    for point in found:
        if (text := point_text(point)) in texts:
            raise UserError(f"{text} is listed twice")
        texts.add(text)
    return found


def point_text(point: Values) -> str:
    """Return `recipe.lr=0.05 model.shortcut=B`."""
    return " ".join(f"{key}={value_text(value)}" for key, value in point)


def _flat(vary: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in vary.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _check_keys(values: dict[str, list[Any]]) -> None:
    for key in values:
        if any(other.startswith(f"{key}.") for other in values):
            raise UserError(f"{key} and settings in it are swept at once: sweep one or the other")
    compute = [key for key in values if key.startswith("compute")]
    if compute and len(compute) < len(values):
        others = [key for key in values if key not in compute]
        raise UserError(
            f"{compute[0]} changes only the speed of a run, {others[0]} its result: sweep over one "
            f"of them at a time"
        )


def grid_words(all_points: Sequence[Values]) -> list[str]:
    """Return the words of a command line that ask for these points, value by value."""
    words = value_words(*all_points)
    grid = f"sweep.grid=[{','.join(map(quoted, words))}]"
    return [grid, "sweep.zip=true"] if len(words) > 1 else [grid]


def value_words(*all_points: Values) -> list[str]:
    """Return `recipe.lr=choice(0.05,0.1)` of each setting: its value at each point."""
    return [_word(key, [dict(point)[key] for point in all_points]) for key, _ in all_points[0]]


def unite_sweeps(ours: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a table that has the rows and the values of two sweeps.

    Args:
        ours: The words of the first, as `Plan.changes` has them.
        theirs: Those of the other, over the same settings.

    Returns:
        The words of the first, where they are no words of a sweep.

    Raises:
        UserError: They are not what `Plan.changes` has, or are of other settings.
    """
    first, second = _recorded(ours), _recorded(theirs)
    both = [*_recorded_points(first), *_recorded_points(second)]
    if not both:
        return tuple(ours)
    if len({tuple(key for key, _ in point) for point in both}) > 1:
        raise UserError(f"{' '.join(theirs)} sweeps over other settings than {' '.join(ours)}")
    kept = [word for word in ours if not word.startswith(("row=", "sweep.grid=", "sweep.zip="))]
    selected = []
    if "row" in first and "row" in second:  # else one of them has all rows
        rows = dict.fromkeys([*_names(first["row"]), *_names(second["row"])])
        selected = [f"row={value_text(list(rows), grammar=True)}"]
    once = {point_text(point): point for point in both}
    return (*kept, *selected, *grid_words(list(once.values())))


def _recorded(words: Sequence[str]) -> dict[str, Any]:
    """Return the values of words that we wrote ourselves."""
    parser = OverridesParser.create()
    keys = ("row", "sweep.grid", "sweep.zip")
    found = [word for word in words if word.partition("=")[0] in keys]
    try:
        return {each.key_or_group: each.value() for each in parser.parse_overrides(found)}
    except HydraException as error:
        raise UserError(f"{' '.join(found)} cannot be read as settings") from error


def _recorded_points(values: Mapping[str, Any]) -> list[Values]:
    grid = _names(values.get("sweep.grid", []))
    return points(SweepConfig(grid=grid, zip=bool(values.get("sweep.zip"))))


def _names(value: Any) -> list[str]:  # noqa: ANN401
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def typed(words: Iterable[str]) -> list[str]:
    """Return the words of a command line as people type them.

    Within the program a sweep is one setting, `sweep.grid=['recipe.lr=0.1,0.05']`, and a row with a
    value in its name is in quotes.
    """
    found: list[str] = []
    for word in words:
        key = word.partition("=")[0]
        inside = _inside(word) if key in ("sweep.grid", "row") else None
        if inside is None:
            found.append(word)
        else:
            found += inside if key == "sweep.grid" else [select("row", inside)]
    return found


def _inside(word: str) -> list[str] | None:
    """Return the texts in a word's list, or its only one; None where it is another value."""
    try:
        value = OverridesParser.create().parse_override(word).value()
    except HydraException:
        return None
    texts = value if isinstance(value, list) else [value]
    return [str(each) for each in texts] if all(isinstance(t, str) for t in texts) else None


def value_text(value: Any, *, grammar: bool = False) -> str:  # noqa: ANN401
    """Return a value as it is typed: `0.05`, `null`, `true`, `[32,48]`; `1` also for 1.0.

    Args:
        value: Any value of a setting.
        grammar: Quote texts where Hydra would read them as something else.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(value_text(each, grammar=grammar) for each in value)}]"
    if isinstance(value, dict):
        inside = (f"{key}:{value_text(each, grammar=grammar)}" for key, each in value.items())
        return f"{{{','.join(inside)}}}"
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_WHOLE:
        return str(int(value))
    is_plain = not isinstance(value, str) or _reads_as(value)
    return str(value) if is_plain or not grammar else quoted(value)


def _reads_as(text: str) -> bool:
    """Return whether Hydra reads a text as the same text without quotes."""
    try:
        return bool(OverridesParser.create().parse_override(f"key={text}").value() == text)
    except HydraException:
        return False


def _word(key: str, values: Any) -> str:  # noqa: ANN401
    if not isinstance(values, list):
        return f"{key}={value_text(values)}"
    listed = ",".join(value_text(each, grammar=True) for each in values)
    # Hydra's choice(...) does not take null.
    return f"{key}={listed}" if None in values else f"{key}=choice({listed})"


def _several(word: str) -> Override | None:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return None
    return override if override.is_sweep_override() else None


def _values(word: str) -> list[Any]:
    """Return the values of a word in Hydra's notation.

    Raises:
        UserError: It has none, one of them twice, or cannot be read.
    """
    key, _, typed = word.partition("=")
    if typed in ("choice()", ""):
        raise UserError(f"sweep over {key}: there are no values")
    override = _several(word)
    if override is None and typed == "null":
        return [None]
    if override is None:
        raise UserError(f"sweep over {key}: {typed!r} is neither a list of values nor Hydra's "
                        f"range(...) or choice(...)")  # fmt: skip
    asked = override.value()
    is_listed = override.value_type in LISTED and not getattr(asked, "shuffle", False)
    if not is_listed or any(isinstance(each, Sweep) for each in getattr(asked, "list", ())):
        raise UserError(f"sweep over {key}: {typed} does not list its values: name them, or use "
                        f"range(...)")  # fmt: skip
    if override.is_range_sweep() and not getattr(asked, "step", 1):
        raise UserError(f"sweep over {key}: {typed} has a step of 0")
    if not override.is_range_sweep():  # whose texts would be unquoted, and read as something else
        return [replace(override, _value=each).value() for each in asked.list]  # type: ignore[union-attr]
    parser = OverridesParser.create()
    texts = list(islice(override.sweep_string_iterator(), MAX_POINTS + 1))
    if not texts:
        raise UserError(f"sweep over {key}: {typed} has no values")
    if len(texts) > MAX_POINTS:
        raise UserError(f"sweep over {key}: {typed} has more than {MAX_POINTS:,} values")
    found = [parser.parse_override(f"{key}={text}").value() for text in texts]
    # They are made by additions: 0.1 + 0.2 is meant to be 0.3.
    rounded = [float(f"{each:.12g}") if isinstance(each, float) else each for each in found]
    return [each for each in rounded if each != asked.stop]  # type: ignore[union-attr]
