"""Tab completion: the candidates for the word at the cursor, one a line."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from resnet_repro.cli.line import READING, WITH_VALUE, WITHOUT
from resnet_repro.cli.output import FORMATS
from resnet_repro.errors import UserError
from resnet_repro.settings.groups import SETTINGS, folders, groups, is_setting, options, rows
from resnet_repro.settings.words import PATHS, at_home

FLAGS = ("-sc", "--shell-completion")
USAGE = 'run eval "$(resnet-repro -sc install=bash)": bash, zsh or fish; uninstall=bash removes it'
# For bash, and for zsh after `bashcompinit`. Names may have spaces, so each line is a candidate.
INSTALL = """\
_resnet_repro() {{
  local IFS=$'\\n'
  COMPREPLY=($(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT {program} -sc query=bash 2> /dev/null))
}}
if [ -n "$ZSH_VERSION" ]; then
  whence compdef > /dev/null || {{ autoload -Uz compinit && compinit; }}
  autoload -U +X bashcompinit && bashcompinit
fi
COMP_WORDBREAKS=${{COMP_WORDBREAKS//=}}
complete -o nospace -o default -F _resnet_repro {program}
"""


def complete(words: Sequence[str], verbs: Sequence[str]) -> str | None:
    """Return the output of `-sc`; None where Hydra provides it.

    Raises:
        UserError: The value of `-sc` is wrong.
    """
    task, _, shell = (*words, "", "")[1].partition("=")
    if task not in ("install", "uninstall", "query") or shell not in ("bash", "zsh", "fish"):
        raise UserError(USAGE)
    if task == "query":
        if "COMP_LINE" not in os.environ:
            raise UserError(f"query= is for the shell, which sets COMP_LINE; {USAGE}")
        found = _candidates(os.environ["COMP_LINE"], verbs)
        return None if found is None else "".join(f"{each}\n" for each in found)
    if shell == "fish":
        return None
    program = Path(sys.argv[0]).name
    program = "resnet-repro" if program.endswith(".py") else program
    return INSTALL.format(program=program) if task == "install" else f"complete -r {program}\n"


def _candidates(line: str, verbs: Sequence[str]) -> list[str] | None:
    """Return the completions of the last word before the cursor.

    Returns:
        The candidates; None where Hydra provides them. COMP_LINE then has only words that Hydra
        accepts.
    """
    typed = line[: int(os.environ.get("COMP_POINT") or len(line))]
    # Words as the shell splits them, except for quotes, which may still be open.
    parts = re.findall(r"(?:\\.|[^\s\\])+|\s$", typed)
    *before, last = [re.sub(r"\\(.)", r"\1", part).strip(" \t'\"") for part in parts]
    verb = next((word for word in before[1:] if word in (*verbs, "help")), "")
    found = _fitting(last, before, verb, verbs)
    if found is None:
        chosen = [word for word in before[1:] if word.partition("=")[0] in groups()]
        os.environ["COMP_LINE"] = " ".join([before[0], *chosen, last])
        return None
    in_quotes = parts[-1][0] in "'\""
    fitting = sorted({each for each in found if each.startswith(last)})
    if in_quotes:
        return fitting
    return [re.sub(r"([\s()&;|<>'\"\\$`#!])", r"\\\1", each) for each in fitting]


def _fitting(last: str, before: list[str], verb: str, verbs: Sequence[str]) -> list[str] | None:
    where = folders(before)
    key, equals, value = last.partition("=")
    if before[-1] in ("--config-dir", "-cd"):
        return _files(last)
    if verb == "help":
        return list(verbs)
    if last.startswith("-"):
        return [*WITH_VALUE, *WITHOUT, *FLAGS, "--help", "--version"]
    if key == "row" and equals:
        names = [word.partition("=")[2] for word in before if word.startswith("experiment=")]
        return [f"row={row}" for name in names for row in rows(name, where)]
    if key == "format" and equals:
        return [f"format={each}" for each in FORMATS.get(verb or "run", ("md",))]
    if key in groups() and equals:
        return [f"{key}={option}" for option in options(key, where)]
    if key in PATHS and equals:
        return [f"{key}={path}" for path in _files(value)]
    if verb == "compare" and equals and not is_setting(key):
        return [f"{key}={path}" for path in _files(value)]
    if equals or "." in key or ("/" in key and verb not in READING):
        return None
    first = [] if verb else [*verbs, "help"]
    # Keys that only experiment files and this program set.
    theirs = ("name", "paper", "rows", "claims", "mode", "folders")
    keys = [f"{each}=" for each in (*groups(), *SETTINGS) if each not in theirs]
    sections = [f"{each}." for each in groups() if each in SETTINGS]
    return [*first, *keys, *sections, *(_files(last) if verb in READING else [])]


def _files(start: str) -> list[str]:
    """Return the files whose paths start with `start`, folders with a slash at the end."""
    folder, slash, name = start.rpartition("/")
    found = Path(at_home(folder + slash) or ".")
    if not found.is_dir():
        return []
    paths = [path for path in found.iterdir() if path.name.startswith(name)]
    return [f"{folder}{slash}{path.name}" + "/" * path.is_dir() for path in paths]
