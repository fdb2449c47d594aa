"""Errors of Hydra and OmegaConf about a command line or a file, in at most two lines."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError, nearest
from resnet_repro.settings.files import at_line
from resnet_repro.settings.groups import LISTS, SETTINGS, find, groups, is_setting
from resnet_repro.settings.sweep import SWEPT

# What a data set that is not synthetic, or has no boxes, lacks.
CAN_BE_NULL = ("data.generate", "data.boxes")
# The exceptions raised for an invalid argument or settings file.
MISTAKES = (UserError, HydraException, OmegaConfBaseException)


def explain(error: Exception, where: Sequence[Path]) -> str:
    """Describe an error in at most two lines, naming the file among the settings folders."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, name = str(error.missing_cfg_file).rsplit("/", 1)
        return f"there is no {group}={name}{nearest(name, error.options)}"
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return (
            f"{error.override} cannot be read. A list is '{key}=[1,2]'; a text with special "
            f"""characters is quoted twice: '{key}="{value.strip("[]")}"'"""
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    if "Ambiguous value" in lines[0]:
        key, _, value = lines[0].split("'")[1].partition("=")
        return _about_several(key, value)
    cause: BaseException | None = error
    if not isinstance(error, OmegaConfBaseException):
        cause = error.__cause__ or error.__context__
    composed = re.match(r"In '(\w+)/(.+?)': ", lines[0])
    path = find(composed[1], composed[2], where) if composed else None
    if composed and path:
        return _in_file(composed[1], path, [lines[0][composed.end() :], *lines[1:]][-1], cause)
    text = about_setting(cause) or " ".join(lines[:2])
    if re.search(r"'.*([,;() ]|\.\.).*' is not a (whole )?number$", text):  # meant as several
        text += "; several are separated by commas alone: 1,2"
    return text


def _about_several(key: str, value: str) -> str:
    """Say what to type in place of several values of what cannot be swept."""
    if not is_setting(key):
        names = dict.fromkeys((*SETTINGS, *groups()))
        return f"there is no setting {key}{nearest(key.split('.')[0], names)}"
    if key in LISTS:
        return f"{key} takes one value, or a list: type '{key}=[{value}]', in quotes"
    return f"{key}={value}: {key} takes one value; only settings of {', '.join(SWEPT)} take several"


def _in_file(group: str, path: Path, text: str, cause: BaseException | None) -> str:
    unknown = re.match(r"Could not override '(\w+)", text)
    if unknown:
        return f"{path}{at_line(path, 'defaults')}: there is no group {unknown[1]}" + nearest(
            unknown[1], groups()
        )
    key = str(getattr(cause, "full_key", None) or "").removeprefix(f"{group}.")
    return f"{path}{at_line(path, key)}: {about_setting(cause) or text}"


def about_null(words: Sequence[str], where: Sequence[Path]) -> str:
    """Say what to set in place of a setting below one that is null: `a.b=1`, or `a={b: 1}`.

    Args:
        words: The command line.
        where: The settings folders.
    """
    names = [word.partition("=")[2] for word in words if word.startswith("experiment=")]
    path = find("experiment", names[-1], where) if names else None
    text = path.read_text(encoding="utf-8") if path else ""
    content = yaml.safe_load(text) or {}
    chosen = {
        key for each in content.get("defaults") or [] if isinstance(each, dict) for key in each
    }
    keys = [_first_key(word.lstrip("+")) for word in words]
    for key in keys:
        match = re.fullmatch(r"steps\.(\w+)\.(\w+)\.(.+)", key)
        if match is None:
            continue
        step, section, rest = match.groups()
        own = (content.get("steps") or {}).get(step) or {}
        if own.get(section) is None and f"/{section}@steps.{step}.{section}" not in chosen:
            return (
                f"{key}: step {step} has no {section} of its own: set {section}.{rest}, which "
                f"changes the rows' and that of all steps without their own"
            )
    for parent, _, key in (each.rpartition(".") for each in keys):
        if re.sub(r"^steps\.\w+\.", "", parent) in CAN_BE_NULL:
            return f"{parent}.{key}: {parent} is null for this data set, and has nothing to set"
    return "a.b=... cannot be set where a is null; set all of a"


def _first_key(word: str) -> str:
    """Return the first key that a word of the command line sets."""
    key, _, value = word.partition("=")
    inner = re.match(r"\{\s*([^:{}\s]+)\s*:", value)
    return f"{key}.{inner[1]}" if inner else key


def about_setting(cause: BaseException | None) -> str | None:
    """Describe OmegaConf's error about a key or its value; None if it names no key."""
    if not isinstance(cause, OmegaConfBaseException):
        return None
    section = cause.parent_node
    missing = re.search(r"Key '(.*)' (?:is not in struct|not in '\w+')", str(cause))
    if missing:
        choices = [str(key) for key in section] if isinstance(section, DictConfig) else []
        if "mode" in choices:  # all settings; `experiment` exists on the command line only
            choices = [name for name in choices if name not in ("folders", "hydra")]
            choices += ["experiment"] if missing[1] != "experiment" else []
        return f"there is no setting {cause.full_key}{nearest(missing[1], choices)}"
    return locate(cause)


def locate(error: OmegaConfBaseException) -> str:
    """Describe an OmegaConf error in one line, with its key."""
    message = str(error.msg or error).split("\n")[0]
    missing = re.search(r"Missing mandatory value: (\S+)", message)
    if missing:
        return f"{missing[1]} has no value: set {missing[1]}=..."
    for theirs, ours in _REWORDED:
        if match := re.fullmatch(theirs, message):
            message = match.expand(ours)
    section, node = error.parent_node, None
    if "Cannot merge DictConfig with ListConfig" in message:  # it says so both ways
        settings, one = "settings {key: value}", "a list"
        given, wanted = (one, settings) if isinstance(section, DictConfig) else (settings, one)
        message = f"{given} where {wanted} belong{'s' if wanted == one else ''}"
    if isinstance(section, DictConfig) and section and isinstance(error.key, str):
        node = section._get_node(error.key, validate_access=False)
    if isinstance(node, DictConfig) and message == "it cannot be null":
        keys = (f"{error.full_key}.{key!s}" for key in node)
        message = f"{message}; set what is in it: {', '.join(keys)}"
    return f"{error.full_key}: {message}" if error.full_key else message


# OmegaConf's messages, and our wording.
_REWORDED = (
    (r"Value '(.*)' of type '\w+' could not be converted to Float", r"'\1' is not a number"),
    (r"Value '(.*)' of type '\w+' could not be converted to Int.*", r"'\1' is not a whole number"),
    (r"Value '(.*)' is not a valid bool.*", r"'\1' is neither true nor false"),
    (r"field '.*' is not Optional", "it cannot be null"),
    (r"Incompatible value 'None' for .*", "it cannot be null"),
    (r".* is not a ListConfig.*", "it is a list: [...]"),
    (r"(?:Invalid type assigned|Merge error): \w+ is not a subclass of \w+\. value: (.*)",
     r"'\1' is no group of settings: {key: value}"),
    (r"Interpolation key '(.*)' not found", r"there is no \1 to take its value from"),
    (r"Structured config of type .* has missing mandatory value: .*", "it has no value"),
    (r"Cannot convert '\w+' to string: '(.*)'", r"\1 is not a text"),
)  # fmt: skip
