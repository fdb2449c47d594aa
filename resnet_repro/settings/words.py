"""Settings as people type them, as Hydra's grammar reads them, and as we write them ourselves."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from resnet_repro.errors import UserError

# What Hydra reads as it stands.
PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z][a-z0-9_ .+-]*", re.I | re.ASCII)
# What the user wrote in Hydra's grammar: quoted, escaped, or a reference to something else.
IN_GRAMMAR = re.compile(r"""null|'.*'|".*"|.*\$\{.*|.*\\[][(){}:=,\\ \t].*""", re.S)
PATHS = ("results", "weights", "data.root")
TEXTS = (*PATHS, "data.title")  # any character may stand in them
# What web pages and word processors make of the keyboard's characters.
FANCY: dict[str, str] = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
    **dict.fromkeys("\u00a0\u2007\u202f", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
}


def setting(word: str, names: Sequence[str] = (), *, sweep: bool = False) -> str:
    """Return a setting so that Hydra reads what was meant.

    Args:
        word: `key=value`, as it was typed.
        names: Values that are taken as they stand, whatever is in them.
        sweep: The value may be several, to sweep over.

    Raises:
        UserError: It cannot be meant so; the message says what to type.
    """
    key, _, value = word.partition("=")
    if not value.strip():
        raise UserError(f"{key}= has no value: type it right after the =, without a space")
    if key in TEXTS or value.strip() in names:
        as_it_stands = IN_GRAMMAR.fullmatch(value) or PLAIN.fullmatch(value)
        if as_it_stands or (sweep and _is_readable(word)):
            return word
        return f"{key}={quoted(value.strip())}"
    refuse_fancy(word)
    if value.endswith(","):
        typed = shlex.quote(word.rstrip(","))
        raise UserError(f"there is a comma too many at the end: type {typed}")
    if PLAIN.fullmatch(value) or _is_readable(word):
        return word
    listed = re.fullmatch(r"\[([^][{}'\"]*)\]", value.strip())
    if listed:
        return f"{key}=[{','.join(quoted(each.strip()) for each in listed[1].split(','))}]"
    return word if re.search(r"[][{}'\"]", value) else f"{key}={quoted(value.strip())}"


def refuse_fancy(word: str) -> None:
    """Refuse characters that look like the keyboard's and are others."""
    found = next((character for character in word if character in FANCY), None)
    if found:
        typed = shlex.quote("".join(FANCY.get(each, each) for each in word))
        raise UserError(
            f"{word}: the character U+{ord(found):04X} in it is not the one of the keyboard, as "
            f"happens when text is copied from a web page. Type {typed}"
        )


def _is_readable(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def at_home(path: str) -> str:
    """Return a path with the home folder in place of `~`."""
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        typed = f"./{path}"
        raise UserError(f"{path}: no user has that name; a folder here is {typed}") from error


def quoted(text: str) -> str:
    """Return a text as Hydra reads it, whatever is in it."""
    backslashes = re.compile(r"(\\+)(?='|$)")  # those before a quote, or at the end, count double
    return "'" + backslashes.sub(r"\1\1", text).replace("'", "\\'") + "'"


def select(key: str, names: Sequence[str]) -> str:
    """Return the word of a command line that selects names: `row=[ResNet-20,ResNet-32]`."""
    words = [name if PLAIN.fullmatch(name) else quoted(name) for name in names]
    return f"{key}={words[0]}" if len(words) == 1 else f"{key}=[{','.join(words)}]"


def without(words: Iterable[str], keys: Sequence[str]) -> list[str]:
    """Return a line's words but for the settings of some keys, and of what lies below those."""
    return [word for word in words if not re.match(rf"({'|'.join(keys)})[.=]", word)]
