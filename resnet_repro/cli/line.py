"""The words of a command line: verb, settings, flags; where they are wrong, what to type instead.

Hydra reads `key=value` settings after its own flags, and nothing else. Here a line as people type
it becomes one that Hydra reads.
"""

import logging
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from resnet_repro.cli.advice import about_bare, about_dash, names_in
from resnet_repro.errors import UserError, closest, nearest
from resnet_repro.settings.groups import (
    SETTINGS,
    find,
    folders,
    groups,
    is_setting,
    options,
    read_key,
    rows,
)
from resnet_repro.settings.sweep import has_several_values, is_swept
from resnet_repro.settings.words import (
    FANCY,
    PLAIN,
    at_home,
    name_and_folder,
    quoted,
    setting,
)

logger = logging.getLogger("resnet_repro")


# Hydra's flags; the first of each pair takes a value in the next word.
WITH_VALUE = ("--config-dir", "-cd", "--cfg", "-c", "--package", "-p", "--config-name", "-cn",
              "--config-path", "-cp")  # fmt: skip
WITHOUT = ("-m", "--multirun", "--resolve", "--hydra-help", "--info", "-i")
SHOWING = {"--cfg", "-c", "--hydra-help", "--info=all"}  # in place of what the verb does
# What a verb without an experiment takes for granted.
ASSUMED = {
    "import": ("data=imagenet", "recipe=imagenet_fbtorch", "evaluation=one_crop"),
    "bench": ("experiment=cifar_depth", "row=[ResNet-20,ResNet-56,ResNet-110]"),
}
READING = ("compare", "verify", "collect", "logs")  # verbs that take folders, or ids of runs


def expand(words: Sequence[str], verbs: Iterable[str]) -> list[list[str]]:
    """Return the lines that Hydra is to read: verb as `mode=VERB`, one line per experiment.

    Raises:
        UserError: A word is no verb, no setting and no flag, or an experiment does not exist.
    """
    flags, settings, bare = _sort(list(words), tuple(verbs))
    where = folders(flags)
    settings = _settings(_with_experiment(settings, where), flags, where)
    flags, settings = _as_sweep(flags, settings)
    verb, *named = bare or [""]
    if verb:
        keys = {each.split("=")[0] for each in settings}
        assumed = ASSUMED.get(verb, ()) if "experiment" not in keys else ()
        settings = [each for each in assumed if each.split("=")[0] not in keys] + settings
        settings.append(f"mode={verb}")
        if named:
            settings.append(f"folders=[{','.join(quoted(at_home(each)) for each in named)}]")
    elif not settings and not SHOWING & set(flags):
        settings.append("mode=list")
    chosen = [each for each in settings if each.startswith("experiment=")]
    names = names_in(chosen)
    if not names or _is_sweep(flags):
        return [[*flags, *settings]]
    rest = [each for each in settings if each not in chosen]
    if len(names) > 1 and any(each.startswith("budget=") for each in rest):
        raise UserError("budget= is for one experiment: run them one after the other")
    return [[*flags, _option("experiment", name), *rest] for name in names]


def _with_experiment(settings: list[str], where: list[Path]) -> list[str]:
    """Return settings with the experiment that a sweep's file names, unless they name one."""
    keys = {each.split("=")[0] for each in settings}
    name = next((each.partition("=")[2] for each in settings if each.startswith("sweep=")), "")
    path = find("sweep", name.removesuffix(".yaml"), where) if name else None
    if path is None or "experiment" in keys:
        return settings
    experiment = read_key(path, "experiment")
    return settings if experiment is None else [f"experiment={experiment}", *settings]


def _as_sweep(flags: list[str], settings: list[str]) -> tuple[list[str], list[str]]:
    """Return flags and settings with the words that give several values put together.

    Hydra's own launchers, `-m hydra/launcher=NAME`, get the words as they are.
    """
    for each in settings:
        if each.startswith("sweep.vary"):
            raise UserError(f"{each}: type the setting itself with its values: recipe.lr=0.05,0.1")
    swept = [each for each in settings if is_swept(each)]
    if not swept or (_is_sweep(flags) and any(each.startswith("hydra") for each in settings)):
        return flags, settings
    others = [each for each in settings if each not in swept]
    if not any(has_several_values(each) for each in others):
        flags = [each for each in flags if each not in ("-m", "--multirun")]
    if any(each.startswith("sweep.grid=") for each in others):
        raise UserError(f"{' '.join(swept)} and sweep.grid=...: leave out sweep.grid and type that "
                        f"setting with its values too")  # fmt: skip
    return flags, [*others, f"sweep.grid=[{','.join(map(quoted, swept))}]"]


def _sort(words: list[str], verbs: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    """Return Hydra's flags, the settings, and the verb with the folders after it."""
    flags: list[str] = []
    settings: list[str] = []
    bare: list[str] = []
    left = [word for word in words if word.strip()]  # a script's "$MORE", of which there is none
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if name in WITH_VALUE:
            if not equals:
                value = left.pop(0) if left else ""
            flags += [name, _value(name, value)]
        elif word in WITHOUT or name in ("--info", "-i"):
            # Alone, it would take a setting for what it is to show.
            flags.append("--info=all" if word in ("--info", "-i") else word)
        elif bare[:1] and bare[0] in READING and _is_folder(word, bare[0], folders(words)):
            bare.append(word)
        elif word[0:1] == "-" or FANCY.get(word[0:1]) == "-":
            raise UserError(about_dash(word, left, (*WITH_VALUE, *WITHOUT)))
        elif "=" in word or word.startswith("~"):
            settings.append(_without_sign(word.strip(), words))
        elif not bare and word in verbs:
            bare.append(word)
        else:
            raise UserError(about_bare(word, words, verbs))
    if flags.count("--config-dir") + flags.count("-cd") > 1:
        raise UserError("--config-dir takes one folder, and is there twice")
    return flags, settings, bare


def _value(flag: str, value: str) -> str:
    """Return the value of a flag; it is there, and is what the flag takes."""
    if flag in ("--config-dir", "-cd"):
        value = at_home(value)
        if not value:
            raise UserError(f"{flag} takes a folder in the next word")
        if not Path(value).is_dir():
            raise UserError(
                f"{flag} {shlex.quote(value)}: there is no such folder. {flag} DIR names one that "
                f"has experiment/NAME.yaml in it"
            )
    elif flag in ("--cfg", "-c") and value not in ("job", "hydra", "all"):
        raise UserError(f"{flag} takes job, hydra or all: {flag} job shows all settings")
    elif not value or "=" in value:
        raise UserError(f"{flag} takes a value in the next word")
    return value


def _is_folder(word: str, verb: str, where: Sequence[Path]) -> bool:
    """Return whether a word after a verb that reads folders is one, even with a `=` in its name.

    Raises:
        UserError: It gives a folder the name of a setting.
    """
    key, equals, value = word.partition("=")
    if not equals:
        return True
    if not is_setting(key) and (
        verb == "logs" or "/" in key or "-seed" in word or Path(word).exists()
    ):
        return True
    name, folder = name_and_folder(word)
    if verb != "compare" or not name or not value.strip():
        return False
    is_there = Path(at_home(folder)).exists()
    if key in groups():  # a group's option, or what has no use here and can be a name
        return (is_there or "/" in value) and value not in options(key, where)
    if is_setting(key):
        if is_there and key in SETTINGS and key not in ("format", "plugins"):
            raise UserError(f"{word}: {key} is a setting; give {value} another name: "
                            f"{shlex.quote(f'my-{word}')}")  # fmt: skip
        return False
    return is_there or "/" in value or closest(key, (*groups(), *SETTINGS), 0.8) is None


def _without_sign(word: str, words: list[str]) -> str:
    """Return a setting; refuse Hydra's + and ~ before it, and spaces around its =."""
    key = word.partition("=")[0]
    if word.startswith("+"):
        raise UserError(f"{word}: settings have no + here. Type {shlex.quote(word.lstrip('+'))}")
    if word.startswith("~") and word not in ("~local", "~debug"):
        raise UserError(
            f"{word}: settings cannot be removed. Type {word[1:].split('=')[0]}=..., "
            f"`--cfg job` shows the present values"
        )
    if not key:
        place = [each.strip() for each in words].index(word)
        before, after = words[place - 1 : place] or ["KEY"], words[place + 1 :] or ["VALUE"]
        value = word[1:] or after[0]
        raise UserError(f"no spaces around the =: type {shlex.quote(f'{before[0]}={value}')}")
    return word


def _is_sweep(flags: Sequence[str]) -> bool:
    return "-m" in flags or "--multirun" in flags


def _settings(settings: list[str], flags: list[str], where: list[Path]) -> list[str]:
    """Return the settings as Hydra reads them; of several for one key the last one."""
    sweep = _is_sweep(flags)
    # Results have the name of the file, without its ending.
    settings = [
        re.sub(r"\.yaml(?=[],'\"]|$)", "", word) if word.partition("=")[0] in groups() else word
        for word in settings
    ]
    chosen = [each for each in settings if each.startswith("experiment=")]
    known = [row for name in names_in(chosen) for row in rows(name, where)]
    # Hydra looks for files elsewhere too, or for several.
    is_free = sweep or {"--config-path", "-cp"} & {*flags} or "hydra.searchpath" in str(settings)
    made: dict[str, str] = {}
    for word in settings:
        key, _, value = word.partition("=")
        if key in groups() and not is_free:
            swept = is_swept(word)
            for option in value.split(",") if swept else [value]:
                _check_option(key, option, where)
        if key in groups() and not is_swept(word) and word not in chosen:
            word = _option(key, value)
        if word not in chosen and not word.startswith("~"):
            mended = setting(word, known if key == "row" else (), sweep=sweep)
            if made.get(key, mended) != mended:
                logger.warning("%s is there twice; the last one counts: %s", key, word)
            made[key] = mended
        else:
            made[word] = word
    return list(made.values())


def _option(group: str, value: str) -> str:
    """Return the choice of an option; Hydra reads the name of a file as a number, if it is one."""
    is_text = PLAIN.fullmatch(value) or not re.fullmatch(r"[\w.+-]+", value)
    return f"{group}={value if is_text else quoted(value)}"


def _check_option(group: str, value: str, where: list[Path]) -> None:
    """Check that a group has an option, before the first of several trains for hours."""
    there = options(group, where)
    for name in names_in([f"{group}={value}"]) if group == "experiment" else [value.strip("'\" ")]:
        if not name and value:
            typed = value.replace(",]", "]").strip(",")
            raise UserError(f"there is a comma too many: type {group}={typed}")
        if not name:
            raise UserError(f"{group}= has no value: type {group}=NAME, one of {', '.join(there)}")
        if find(group, name.removesuffix(".yaml"), where) is None:
            raise UserError(f"there is no {group}={name}{nearest(name, there)}")
        if "/" in name and group in ("experiment", "sweep"):
            raise UserError(f"{group}={name}: put the file into the folder {group} itself")
