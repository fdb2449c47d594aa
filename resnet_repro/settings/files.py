"""Checks of settings files; errors name the file and the line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.errors import UserError
from resnet_repro.settings.groups import find, groups

GLOBAL = "# @package _global_"
NOT_SETTINGS = "must hold settings, one line `key: value` each"
GLOBAL_GROUPS = ("experiment", "debug", "local")  # groups whose files set keys of all sections
OF_HYDRA = re.compile(r"(?:.*[/@ ])?hydra\b")  # a key, or a line of defaults
IN_HYDRA = re.compile(r"^\s*#.*@package.*\bhydra\b", re.MULTILINE)
CODE = "only the command line names code to import: remove {} from it"


def check_named(words: Sequence[str], where: Sequence[Path]) -> None:
    """Check the files that a command line selects, `GROUP=OPTION`, and this machine's settings.

    Raises:
        UserError: A file is invalid.
    """
    for word in [*words, "local=default"]:
        group, _, named = word.partition("=")
        for option in named.split(",") if group in groups() else ():
            check(group, option.strip("[]'\" ").removesuffix(".yaml"), where)


def check(
    group: str, option: str, where: Sequence[Path], seen: frozenset[Path] = frozenset()
) -> None:
    """Check that a file and the files in its `defaults` can be read.

    Args:
        group: The file's group in `conf/`.
        option: The file's name, without `.yaml`.
        where: The settings folders.
        seen: Files whose defaults led here.

    Raises:
        UserError: A file is invalid; the message names it, and the line if known.
    """
    path = find(group, option, where)
    if path is None:
        return
    for other in (folder / group / path.name for folder in where):
        if other.is_file() and not other.samefile(path):
            raise UserError(f"{other} would not be read, as {path} has its name: rename it")
    if path in seen:
        raise UserError(f"{path} includes itself in its defaults")
    content = _read(path)
    if group in GLOBAL_GROUPS and GLOBAL not in path.read_text(encoding="utf-8")[:512]:
        raise UserError(f"{path} must start with the line: {GLOBAL}")
    _refuse_code(path, content)
    defaults = content.get("defaults", [])
    if not isinstance(defaults, list):
        raise UserError(
            f"{path}: defaults must be a list, such as `- override /model: cifar_resnet`"
        )
    for default in defaults:
        if isinstance(default, str):
            default = {default.rpartition("/")[0] or group: default.rpartition("/")[2]}
        (key, value), *others = default.items() if isinstance(default, dict) else [(group, default)]
        if others or not isinstance(value, str | None):
            raise UserError(
                f"{path}{at_line(path, 'defaults')}: {default} does not name a file; an entry of "
                f"defaults looks like `- override /model: cifar_resnet`"
            )
        if value is not None:
            name = re.sub(r"^(?:override |optional )*|@.*", "", str(key))
            for inner in (name.lstrip("/"), f"{group}/{name}"):  # of all groups, or of this one's
                check(inner, value.removesuffix(".yaml"), where, seen | {path})


def _refuse_code(path: Path, content: dict[Any, Any]) -> None:
    """Raise a UserError if a file names plugins, or sets Hydra, which imports what it is set to."""
    defaults = content.get("defaults") or []
    chosen = [key for each in defaults for key in (each if isinstance(each, dict) else [each])]
    found = {key: key for key in content if key == "plugins" or OF_HYDRA.match(key)}
    found |= {key: "defaults" for key in chosen if OF_HYDRA.match(str(key))}
    if IN_HYDRA.search(path.read_text(encoding="utf-8")):
        found["@package hydra"] = ""
    for key, place in found.items():
        raise UserError(f"{path}{at_line(path, place)}: {CODE.format(key)}")


def _read(path: Path) -> dict[Any, Any]:
    try:
        raw = path.read_bytes()
        text = raw.decode()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: the byte 0x{raw[error.start]:02x} is not UTF-8: save it as UTF-8"
        ) from error
    if text.startswith("\ufeff"):
        raise UserError(f"{path} starts with a byte-order mark: save it as UTF-8 without one")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except yaml.YAMLError as error:
        raise UserError(about_yaml(error, path)) from error
    except OmegaConfBaseException as error:  # for example, a key that is not a string
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply") from error
    except OSError as error:  # a number instead of a list or settings
        raise UserError(f"{path}: {NOT_SETTINGS}") from error
    if not isinstance(content, dict) or content == {text.strip(): None}:
        raise UserError(f"{path}: {NOT_SETTINGS}")
    wrong = [key for key in content if not isinstance(key, str)]
    if wrong:
        raise UserError(f"{path}: {wrong[0]!s} is not a setting's name")
    return content


def about_yaml(error: yaml.YAMLError, path: Path) -> str:
    """Describe a YAML error in one line, with its place."""
    if isinstance(error, yaml.reader.ReaderError):
        line = path.read_text(encoding="utf-8").count("\n", 0, error.position) + 1
        return f"{path}, line {line}: the character U+{int(error.character):04X} is not allowed"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        tab = " (indent with spaces)" if "'\\t'" in str(error.problem) else ""
        return f"{path}, line {error.problem_mark.line + 1}: {error.problem}{tab}"
    return f"{path}: {error}"


def at_line(path: Path, key: str) -> str:
    """Return `, line N`: where a file sets a key, or the longest part of it that is set."""
    text = path.read_text(encoding="utf-8")
    node, line = yaml.compose(text, yaml.SafeLoader), None
    for part in re.findall(r"[^][.]+", key):
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == part]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit():
            found = [(each, each) for each in node.value[int(part) :][:1]]
        else:
            break
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    if line is None:  # a key of a row; OmegaConf does not say which row
        word = re.compile(rf"\b{re.escape(key.partition('[')[0])}\s*:")
        found_in = [n for n, each in enumerate(text.splitlines(), 1) if word.search(each)]
        line = found_in[0] if len(found_in) == 1 else None
    return f", line {line}" if line else ""
