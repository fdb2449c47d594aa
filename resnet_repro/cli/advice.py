"""What to type in place of a word of the command line that is wrong."""

import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from resnet_repro.errors import closest, nearest
from resnet_repro.settings.groups import SETTINGS, folders, groups, is_setting, options, rows
from resnet_repro.settings.words import FANCY, TEXTS, refuse_fancy


def about_dash(word: str, left: Sequence[str], flags: Iterable[str]) -> str:
    """Say what to type in place of an unknown flag.

    Args:
        word: The flag, as typed.
        left: The words after it.
        flags: The flags that there are.
    """
    name, equals, value = word.lstrip("-" + "".join(FANCY)).partition("=")
    known = [flag for flag in (*flags, "--help", "--version") if flag[1] == "-"]
    if word[0] in FANCY:  # of two dashes word processors make one
        mended = f"--{name}{equals}{value}" if len(name) > 2 else f"-{name}{equals}{value}"
        return f"{word} has a typographic dash, perhaps copied from a web page. Type {mended}"
    key = name if is_setting(name) else closest(name, (*groups(), *SETTINGS), 0.8)
    if key:
        value = value if equals else (left[0] if left and "=" not in left[0] else "...")
        return f"{word}: settings have no dashes. Type {shlex.quote(f'{key}={value}')}"
    return f"there is no flag {word}" + (nearest(word, known) if len(word) > 2 else "")


def about_bare(word: str, words: Sequence[str], verbs: Collection[str]) -> str:
    """Say what to type in place of a word that is no verb, no setting and no flag."""
    place = words.index(word)
    before, after = words[:place], words[place + 1 :]
    where = folders(words)
    if word in verbs:
        both = dict.fromkeys(each for each in words if each in verbs)
        return f"one verb at a time: {' or '.join(both)}"
    refuse_fancy(word)
    if "," in (word[0], before[-1][-1:] if before else "") and "=" in "".join(before[-1:]):
        value = before[-1]
        for each in (word, *after):
            value += each if value.endswith(",") or each.startswith(",") else ""
        return f"no spaces around the commas: type {shlex.quote(value)}"
    if is_setting(word):
        value = next((each.removeprefix("=") for each in after if each != "="), "...")
        return f"type {shlex.quote(f'{word}={value}')}"
    if before and before[-1].split("=")[0] in ("row", *TEXTS) and "=" in before[-1]:
        return f"a value with a space is quoted: '{before[-1]} {word}'"
    if word in options("experiment", where):
        return f"type experiment={word}"
    if Path(word).is_dir():
        return f"{word} is a folder: did you mean {shlex.quote(f'results={word}')}?"
    for name in names_in([each for each in words if each.startswith("experiment=")]):
        if word in rows(name, where):
            return f"type {shlex.quote(f'row={word}')}"
    return f"there is no verb {word}{nearest(word, verbs)}"


def names_in(settings: Iterable[str]) -> list[str]:
    """Return the names in `experiment=` settings: `experiment=a,b` runs both."""
    parts = [each.partition("=")[2].strip("[]'\"").split(",") for each in settings]
    return [name.strip() for each in parts for name in each]
