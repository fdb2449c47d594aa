"""The groups of `conf/`, their options, and the rows of experiments, read without Hydra."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from resnet_repro.errors import UserError
from resnet_repro.settings.schema import Schema
from resnet_repro.settings.words import at_home

# `conf/` is next to the package in a checkout, and inside it in a wheel.
_HERE = Path(__file__).resolve().parents[1]
CONF = next(d for d in (_HERE / "conf", _HERE.parent / "conf") if (d / "config.yaml").is_file())
SETTINGS = tuple(item.name for item in fields(Schema))
LISTS = tuple(item.name for item in fields(Schema) if item.type is Any)  # one value, or a list


def groups() -> list[str]:
    """Return the names of all groups; of this machine's own settings there may be no folder."""
    return sorted({"local", *(folder.name for folder in CONF.iterdir() if folder.is_dir())})


def is_setting(key: str) -> bool:
    """Return whether a key is valid on the command line: a group, a setting, or a part of one."""
    first = key.split(".")[0]
    return first in (*SETTINGS, *groups()) or key.startswith("hydra")


def folders(words: Sequence[str]) -> list[Path]:
    """Return the settings folders: ours, and each `--config-dir` of a command line."""
    pairs = [word.split("=", 1) for word in words if "=" in word]
    pairs += [list(pair) for pair in pairwise(words)]
    found = [CONF]
    for flag, value in pairs:
        if flag in ("--config-dir", "-cd"):
            with suppress(UserError):  # unknown user's home: reported elsewhere
                found.append(Path(at_home(value)))
    return found


def options(group: str, where: Sequence[Path]) -> list[str]:
    """Return the options of a group in some settings folders."""
    return sorted({path.stem for folder in where for path in (folder / group).glob("[!.]*.yaml")})


def find(group: str, option: str, where: Sequence[Path]) -> Path | None:
    """Return the file of an option of a group; as in Hydra, the first folder takes precedence."""
    paths = (folder / group / f"{option}.yaml" for folder in where)
    return next((path for path in paths if path.is_file() and _is_its_name(path)), None)


def _is_its_name(path: Path) -> bool:
    """Return whether a file has just this name: a disk that ignores case finds others too."""
    return any(each.name == path.name for each in path.parent.iterdir())


def read_key(path: Path, key: str) -> str | None:
    """Return the text of a key at the top of a file; None where it has none, or is not right."""
    with suppress(OSError, ValueError, yaml.YAMLError, AttributeError, TypeError):
        value = yaml.safe_load(path.read_bytes()).get(key)
        return None if value is None else str(value)
    return None


def rows(experiment: str, where: Sequence[Path]) -> list[str]:
    """Return the runnable rows of an experiment; none if its file is invalid."""
    path = find("experiment", experiment, where)
    with suppress(OSError, ValueError, yaml.YAMLError, AttributeError, TypeError, KeyError):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        content = yaml.load(path.read_bytes() if path else "", loader)
        return [str(row["name"]) for row in content["rows"] if not row.get("cited")]
    return []
