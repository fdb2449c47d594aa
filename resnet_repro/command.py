"""The words of a command line: verb, settings, flags; what is wrong with them, in two lines.

Hydra reads `key=value` settings after its own flags, and nothing else. Here a line as people type
it becomes one that Hydra reads.
"""

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.config import locate
from resnet_repro.errors import UserError

# In a checkout the configs lie beside the package, in a wheel inside it.
_HERE = Path(__file__).resolve().parent
CONF = next(d for d in (_HERE / "conf", _HERE.parent / "conf") if (d / "config.yaml").is_file())

# What Hydra reads as it stands.
PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z][a-z0-9_ .+-]*", re.I | re.ASCII)
INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended

HELP = """\
The tables of the ResNet papers, runnable.

  resnet-repro [list]                   the experiments, and what of them is done
  resnet-repro experiment=NAME          run what is missing, then write the table
  resnet-repro plan experiment=NAME     what would run, and how long it takes
  resnet-repro verify [experiment=NAME] layers, parameters, multiply-adds against the paper
  resnet-repro submit experiment=NAME   what is missing, as an array of SLURM jobs
  resnet-repro status experiment=NAME   each run: done, running, failed, waiting; its SLURM job
  resnet-repro table experiment=NAME    the table from what is recorded; format=md|csv|json|tex
  resnet-repro report                   all recorded tables and their pictures as one HTML page
  resnet-repro explain experiment=NAME  where each number comes from; row=ROW for one of them
  resnet-repro compare DIR DIR          two results, row by row: of two machines, versions, settings
  resnet-repro verify results           whether each table in a folder is what its records give
  resnet-repro evaluate experiment=NAME evaluation=OPTION
                                        another test of the finished networks
  resnet-repro import weights=FILE      test weights that torchvision published
  resnet-repro bench [experiment=NAME]  how fast each way to train is here

A part of it    row=ResNet-110  'row=[ResNet-20,ResNet-32]'  'seeds=[0,1,2]'
                budget=8h (30s, 90min, 2d): what settles the most claims in that time
Other settings  recipe.iterations=1500  recipe.precision=bf16  compute.device=cpu
                data.root=DIR (or RESNET_REPRO_DATA=DIR)  results=DIR
                cluster.partition=NAME  cluster.time=08:00:00  cluster.gpus=8
                format=json: one JSON document on stdout, for scripts
Hydra's own     --cfg job shows all settings, -m sweeps, --config-dir DIR adds experiments of
                yours, --hydra-help tells the rest

Groups (GROUP=OPTION)
"""
# Hydra's flags; the first of each pair takes a value in the next word.
WITH_VALUE = ("--config-dir", "-cd", "--cfg", "-c", "--package", "-p", "--config-name", "-cn",
              "--config-path", "-cp", "-sc", "--shell-completion")  # fmt: skip
# What a verb without an experiment takes for granted.
ASSUMED = {
    "import": ("data=imagenet", "recipe=imagenet_fbtorch", "evaluation=one_crop"),
    "bench": ("experiment=cifar_depth", "row=[ResNet-20,ResNet-56,ResNet-110]"),
}
WITHOUT = ("-m", "--multirun", "--resolve", "--hydra-help", "--info", "-i")


def expand(words: list[str], verbs: Iterable[str]) -> list[list[str]]:
    """Return the lines that Hydra is to read: verb as `mode=VERB`, one line per experiment.

    Raises:
        UserError: A word is no verb, no setting and no flag, or an experiment does not exist.
    """
    flags, settings, bare = _sort(words)
    if "-sc" in flags or "--shell-completion" in flags:
        _complete_without_verb(verbs)
        return [flags]
    bare, folders = _take_folders(bare)
    if len(bare) > 1 or (bare and bare[0] not in verbs):
        row = next((setting for setting in settings if setting.startswith("row=")), None)
        if row and bare[-1] not in verbs:
            raise UserError(f"a name with a space is quoted: '{row} {bare[-1]}'")
        raise UserError(_about_bare_word(bare, verbs, flags))
    if bare:
        groups = {setting.split("=")[0] for setting in settings}
        assumed = ASSUMED.get(bare[0], ()) if "experiment" not in groups else ()
        settings = [each for each in assumed if each.split("=")[0] not in groups] + settings
        settings.append(f"mode={bare[0]}")
        if folders:
            settings.append(f"folders=[{','.join(map(quoted, folders))}]")
    elif not settings and not {"--cfg", "-c", "--hydra-help", "--info=all"} & set(flags):
        settings.append("mode=list")
    chosen = [setting for setting in settings if setting.startswith("experiment=")]
    names = [name for setting in chosen for name in setting[11:].strip("[]").split(",")]
    if len(names) < 2 or "-m" in flags or "--multirun" in flags:
        return [[*flags, *settings]]
    for name in names:  # all of them, before the first one trains for hours
        if name not in experiments(flags):
            raise UserError(f"experiment={name}: it can be {', '.join(experiments(flags))}")
    rest = [setting for setting in settings if setting not in chosen]
    return [[*flags, f"experiment={name}", *rest] for name in names]


def _sort(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Return Hydra's flags, the settings and the bare words."""
    flags: list[str] = []
    settings: list[str] = []
    bare: list[str] = []
    for word in words:
        takes_value = bool(flags) and flags[-1] in WITH_VALUE
        if takes_value or word in WITHOUT or word.split("=")[0] in WITH_VALUE:
            # Alone, it would take a setting for what it is to show.
            flags.append("--info=all" if word in ("--info", "-i") else word)
        elif word.startswith("-"):
            raise UserError(f"there is no flag {word}; settings have no dashes: experiment=NAME")
        elif word.startswith("+"):
            raise UserError(f"{word}: settings are not added; there is none of that name")
        elif "=" in word or word.startswith("~"):
            settings.append(_at_home(word))
        else:
            bare.append(word)
    return flags, settings, bare


def _at_home(setting: str) -> str:
    """Expand a path in the home folder: no word of Hydra's begins with `~`."""
    key, _, value = setting.partition("=")
    # Path's own fails where there is no such user.
    return f"{key}={quoted(os.path.expanduser(value))}" if value.startswith("~") else setting  # noqa: PTH111


def _take_folders(bare: list[str]) -> tuple[list[str], list[str]]:
    """Take the folders after a verb that reads some out of the bare words."""
    if bare and bare[0] in ("compare", "verify"):
        return bare[:1], bare[1:]
    return bare, []


def quoted(path: str) -> str:
    """Return a path as Hydra reads it in a list."""
    return "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"


def select(key: str, names: Sequence[str]) -> str:
    """Return the word of a command line that selects names: `row=[ResNet-20,ResNet-32]`."""
    words = [name if PLAIN.fullmatch(name) else quoted(name) for name in names]
    return f"{key}={words[0]}" if len(words) == 1 else f"{key}=[{','.join(words)}]"


def without(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return a line's words but for the settings of some keys, and of what lies below those."""
    return [word for word in words if not re.match(rf"({'|'.join(keys)})[.=]", word)]


def _about_bare_word(bare: list[str], verbs: Iterable[str], flags: list[str]) -> str:
    wrong = next((word for word in bare if word not in verbs), bare[-1])
    if wrong in verbs:
        return f"one verb at a time: {' or '.join(bare)}"
    if wrong in experiments(flags):
        return f"say experiment={wrong}"
    return f"there is no verb {wrong}{nearest(wrong, verbs)}"


def _complete_without_verb(verbs: Iterable[str]) -> None:
    """Take the verb out of the line that the shell asks to complete; Hydra does not know it."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if len(words) > 1 and words[1] in verbs:
        os.environ["COMP_LINE"] = shorter = line.replace(f" {words[1]}", "", 1)
        point = int(os.environ.get("COMP_POINT", len(line)))
        os.environ["COMP_POINT"] = str(point - len(line) + len(shorter))


def experiments(flags: list[str]) -> list[str]:
    """Return the names of all experiments: ours, and those of a `--config-dir`."""
    return _options("experiment", flags)


def _options(group: str, flags: list[str]) -> list[str]:
    pairs = [flag.split("=", 1) for flag in flags if "=" in flag]
    pairs += [list(pair) for pair in pairwise(flags)]
    folders = [CONF, *(Path(value) for flag, value in pairs if flag in ("--config-dir", "-cd"))]
    return sorted({path.stem for f in folders for path in (f / group).glob("*.yaml")})


def help_text(words: list[str]) -> str:
    """Return what `--help` prints."""
    flags = [word for word in words if word not in ("--help", "-h")]
    groups = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
    return HELP + "".join(f"  {g:12}{', '.join(_options(g, flags))}\n" for g in groups)


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return how to go on after a name that does not exist."""
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(word, names, n=1)
    return f": did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"


def explain(error: Exception) -> str:
    """Say in two lines at most what Hydra or OmegaConf found wrong."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, name = str(error.missing_cfg_file).rsplit("/", 1)
        return f"{group}={name}: it can be {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read: {str(error).splitlines()[0]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "Ambiguous value" in lines[0]:
        key, _, value = lines[0].split("'")[1].partition("=")
        return f"several values: '{key}=[{value}]', in quotes; or -m to sweep over them"
    cause = error.__cause__
    missing = re.search(r"Key '(\w+)' (?:is not in struct|not in '(\w+)')", str(cause or error))
    if missing and missing[1] in ("experiment", "debug", "local"):
        return f"the file of {missing[1]}= must begin with the line: # @package _global_"
    if missing and isinstance(cause, OmegaConfBaseException):
        section = cause.parent_node
        choices = [str(key) for key in section] if isinstance(section, DictConfig) else []
        where = f"there is no setting {cause.full_key}"
        return where + nearest(missing[1], [*choices, "experiment"])
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return locate(cause)
    return " ".join(lines[:2])
