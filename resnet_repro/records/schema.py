"""The schema of the files of results: the same rules for reading and for writing."""

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from resnet_repro.strict_json import LARGEST


@dataclass(frozen=True)
class Rule:
    """A rule for a value.

    Attributes:
        holds: The function that tests a value.
        what: The rule in words, for messages.
        required: Whether the value must be present.
    """

    holds: Callable[[Any], bool]
    what: str
    required: bool = True

    @property
    def optional(self) -> "Rule":
        """The same rule, for a value that may be missing."""
        return Rule(self.holds, self.what, required=False)

    @property
    def or_null(self) -> "Rule":
        """The same rule, but null is allowed too."""
        return Rule(lambda v: v is None or self.holds(v), f"{self.what} or null", self.required)


def _is_number(value: Any, high: float = math.inf) -> bool:  # noqa: ANN401
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= high


def _is_count(value: Any) -> bool:  # noqa: ANN401
    return type(value) is int and 0 <= value < LARGEST


def _is_command(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str) and _can_be_split(value)


@cache
def _can_be_split(command: str) -> bool:
    try:
        return bool(shlex.split(command) or not command)
    except ValueError:
        return False


def _is_curve(value: Any, high: float = 100) -> bool:  # noqa: ANN401
    """Return whether a value is pairs of an iteration and a percentage, hundreds of them in most.

    Each step is one call for the whole list: a table reads a million pairs.
    """
    if not isinstance(value, list | tuple) or not {*map(type, value)} <= {list, tuple}:
        return False
    if not value or {*map(len, value)} != {2}:
        return not value
    iterations, values = zip(*value, strict=True)
    if {*map(type, iterations)} != {int} or not {*map(type, values)} <= {int, float}:
        return False
    return (
        min(iterations) >= 0
        and max(iterations) < LARGEST
        and all(map(math.isfinite, values))
        and min(values) >= 0
        and max(values) <= high
    )


def _is_per_class(value: Any) -> bool:  # noqa: ANN401
    """Return whether a value has numbers in % for each class, and its number of objects."""
    return isinstance(value, dict) and all(
        isinstance(each, dict)
        and all(COUNT.holds(v) if key == "num_objects" else _SCORE.holds(v)
                for key, v in each.items())
        for each in value.values()
    )  # fmt: skip


def list_of(rule: Rule) -> Rule:
    """Return the rule of a list all of whose items follow a rule."""
    return Rule(
        lambda v: isinstance(v, list | tuple) and all(map(rule.holds, v)),
        f"a list, each {rule.what}",
    )


TEXT = Rule(lambda v: isinstance(v, str), "text")
YES_OR_NO = Rule(lambda v: isinstance(v, bool), "true or false")
COUNT = Rule(_is_count, "a whole number of at least 0")
POSITIVE = Rule(lambda v: _is_count(v) and v > 0, "a whole number above 0")
NUMBER = Rule(_is_number, "a number of at least 0")
PERCENT = Rule(lambda v: _is_number(v, 100), "a number from 0 to 100")
CURVE = Rule(_is_curve, "a list of pairs: iteration and value in %")
LOSSES = Rule(lambda v: _is_curve(v, math.inf), "a list of pairs: iteration and loss")
_SCORE = PERCENT.or_null
RECORDS = Rule(
    lambda v: isinstance(v, list | tuple) and all(isinstance(each, dict) for each in v),
    "a list of objects",
)
# For values that are only shown or compared: no nesting.
SCALAR = Rule(
    lambda v: v is None or type(v) in (bool, str) or (type(v) in (int, float) and math.isfinite(v)),
    "text, a number, true, false or null",
)

ANYTHING = Rule(lambda _: True, "anything")

COUNTS = {"num_errors": COUNT, "num_errors_top5": COUNT.optional, "num_images": POSITIVE}
END = {
    "seconds": NUMBER,
    "weights": TEXT,
    "energy": NUMBER.optional,
    "num_unreadable": COUNT.optional,
}
_SPEEDS = {"images_per_second": NUMBER, "wall_images_per_second": NUMBER.optional}
EVENTS: dict[str, dict[str, Rule]] = {
    "train": {**COUNTS, "loss": NUMBER, "lr": NUMBER, **_SPEEDS},
    "test": {**COUNTS, "protocol": TEXT},
    "warmup_end": {"train_error": PERCENT},
    "plateau": {"train_error": PERCENT, "number": COUNT},
    "finished": END,
    "diverged": {**END, "reason": TEXT},
    "error": {"reason": TEXT},
}
_EVENT = {"event": TEXT, "iteration": COUNT}
_EVENTS = {kind: {**_EVENT, **rules} for kind, rules in EVENTS.items()}
TESTED = {
    "weights": Rule(lambda v: TEXT.holds(v) or list_of(TEXT).holds(v), "text").optional,
    "members": list_of(TEXT).optional,
    "decode": TEXT.optional,
}
TEST = {**COUNTS, **TESTED}
# Of a detector: [He15] Tables 7, 8 and 12; of its proposals; of localisation, Tables 13 and 14. A
# mean or a class without objects is null.
DETECTED = {
    "num_images": POSITIVE,
    "num_objects": COUNT.optional,
    **dict.fromkeys(("voc07", "voc12", "map", "map50", "det"), _SCORE.optional),
    **dict.fromkeys(("num_found", "num_found_70"), COUNT.optional),
    **dict.fromkeys(("num_errors_loc_gt", "num_errors_loc_top5"), COUNT.optional),
    "per_class": Rule(_is_per_class, "an object of numbers for each class").optional,
    **TESTED,
}
SCORES = DETECTED.keys() - TESTED.keys() - {"num_images", "num_objects", "per_class"}
PUBLISHED = {"protocol": TEXT, "error": PERCENT, "top5": PERCENT, "weights": TEXT}
IMPORTED = {
    **TEST,
    "imported": TEXT,
    "network": TEXT,
    "data": TEXT,
    "published": Rule(lambda v: isinstance(v, dict), "an object").or_null.optional,
}
RESPONSES = {"std": list_of(NUMBER), "weights": TEXT}
SESSION = {
    "started": TEXT,
    "command": Rule(_is_command, "a command with matching quotes"),
    "resnet_repro": TEXT,
    "torch": TEXT,
    "cpu": TEXT,
    "device": TEXT,
    "num_train": POSITIVE,
    "commit": TEXT.optional,
    "dirty": YES_OR_NO.optional,
    "no_commit": TEXT.optional,
    "data": TEXT.optional,
    "about_data": list_of(TEXT).optional,
    "decoder": TEXT.optional,
    "threads": POSITIVE.optional,
    "processes": POSITIVE.optional,
}
STATES = ("finished", "diverged", "failed", "unfinished")
RESULT = {
    "id": TEXT,
    "row": TEXT,
    "seed": COUNT,
    "state": Rule(lambda v: v in STATES, " or ".join(STATES)),
    "iteration": COUNT,
    "evaluations": Rule(lambda v: isinstance(v, dict), "an object"),
    "train_error": PERCENT.or_null,
    "reason": TEXT.or_null,
    "seconds": NUMBER.or_null,
    "weights": TEXT.or_null,
    "train_curve": CURVE,
    "test_curve": CURVE,
    "loss_curve": LOSSES.optional,
    "sessions": RECORDS,
    "num_unreadable": COUNT.optional,
    "energy": NUMBER.or_null.optional,
}


PARTS = (
    ("num_errors", "num_images"),
    ("num_errors_top5", "num_errors"),
    ("num_errors_loc_gt", "num_images"),
    ("num_errors_loc_top5", "num_images"),
    ("num_found", "num_objects"),
    ("num_found_70", "num_found"),
)


def check(value: Any, rules: Mapping[str, Rule], *, more: Rule | None = SCALAR) -> None:  # noqa: ANN401
    """Check an object.

    Args:
        value: The object.
        rules: The rules by key.
        more: The rule for other keys; None if there may be none.

    Raises:
        ValueError: It is not an object, lacks a key, or has a value against the rules.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{short(value)} is not an object")
    for key, rule in rules.items():
        if key not in value and rule.required:
            raise ValueError(f"{key} is missing")
        if key in value and not rule.holds(value[key]):
            raise ValueError(f"{key} is {short(value[key])}: it must be {rule.what}")
    for key in value.keys() - rules.keys():
        if more is None:
            raise ValueError(f"the key {key} is not known")
        if not more.holds(value[key]):
            raise ValueError(f"{key} is {short(value[key])}: it must be {more.what}")
    for part, whole in PARTS:
        most = value.get(whole) if {part, whole} <= rules.keys() else None
        if most is not None and value.get(part, 0) > most:
            raise ValueError(f"{part} is {value[part]}, of {most}")


def check_event(event: Any) -> None:  # noqa: ANN401
    """Check a line of `record.jsonl`, as `check` does."""
    kind = event.get("event") if isinstance(event, dict) else None
    rules = _EVENTS.get(kind) if isinstance(kind, str) else None
    if rules is None:
        check(event, _EVENT)
        raise ValueError(f"event is {short(kind)}: it must be {' or '.join(EVENTS)}")
    if kind == "test" and _is_of_detection(event):
        rules = {**_EVENT, **DETECTED, "protocol": TEXT}
    check(event, rules)


def check_evaluations(tests: Any) -> None:  # noqa: ANN401
    """Check `evaluations.json`, or the `evaluations` of a result, as `check` does."""
    check(tests, {}, more=Rule(lambda v: isinstance(v, dict), "an object"))
    for key, test in tests.items():
        _inside(key, test, RESPONSES if key == "responses" else _rules(test))
        if test.get("published"):
            _inside(f"{key}: published", test["published"], PUBLISHED)


def _rules(test: Mapping[str, Any]) -> Mapping[str, Rule]:
    if "imported" in test:
        return IMPORTED
    return DETECTED if _is_of_detection(test) else TEST


def _is_of_detection(test: Mapping[str, Any]) -> bool:
    return "num_errors" not in test and not SCORES.isdisjoint(test)


def check_sessions(sessions: Any) -> None:  # noqa: ANN401
    """Check `environment.json`, or the `sessions` of a result, as `check` does."""
    if not RECORDS.holds(sessions):
        raise ValueError(f"{short(sessions)} is not {RECORDS.what}")
    for number, session in enumerate(sessions, start=1):
        _inside(f"session {number}", session, SESSION)


def check_result(result: Any) -> None:  # noqa: ANN401
    """Check a run of `records.json`, as `check` does."""
    check(result, RESULT, more=None)
    check_evaluations(result["evaluations"])
    check_sessions(result["sessions"])


def _inside(where: str, value: Any, rules: Mapping[str, Rule]) -> None:  # noqa: ANN401
    try:
        check(value, rules)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def short(value: Any) -> str:  # noqa: ANN401
    """Return a value in short, for a message."""
    if isinstance(value, dict | list):  # may be deeply nested
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 40 else text[:36] + " ..."
