"""Quoting of settings: as users type them, as Hydra's grammar reads them, as we write them."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from resnet_repro.errors import UserError

# Text that Hydra reads without quotes.
PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z][a-z0-9_ .+-]*", re.I | re.ASCII)
# Text already in Hydra's grammar: quoted, escaped, or an interpolation.
IN_GRAMMAR = re.compile(r"""null|'.*'|".*"|.*\$\{.*|.*\\[][(){}:=,\\ \t].*""", re.S)
# Names that `setting` accepts without quotes, also in a list.
TYPED = re.compile(r"[a-z0-9][a-z0-9_ .+=:/*%~-]*", re.I | re.ASCII)
PATHS = ("results", "weights", "pack", "data.root")
TEXTS = (*PATHS, "data.title")  # any character is allowed in these values
# Characters that web pages and word processors substitute, and the plain ones they stand for.
FANCY: dict[str, str] = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
    **dict.fromkeys("\uff0c\u3001\u060c", ","),
    **dict.fromkeys("\u00a0\u2007\u202f", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
}


def setting(word: str, names: Sequence[str] = (), *, sweep: bool = False) -> str:
    """Return a setting quoted so that Hydra reads it as it was meant.

    Args:
        word: `key=value`, as typed.
        names: Values that are taken literally.
        sweep: Whether the value may be a list to sweep over.

    Raises:
        UserError: The setting is malformed; the message says what to type.
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
    if not value.strip(", "):
        raise UserError(f"{word} has no value")
    if value.endswith(","):
        typed = shlex.quote(word.rstrip(","))
        raise UserError(f"there is an extra comma at the end: type {typed}")
    if PLAIN.fullmatch(value) or _is_readable(word):
        return word
    listed = re.fullmatch(r"\[([^][{}'\"]*)\]", value.strip())
    if listed:
        return f"{key}=[{','.join(quoted(each.strip()) for each in listed[1].split(','))}]"
    return word if re.search(r"[][{}'\"]", value) else f"{key}={quoted(value.strip())}"


def refuse_fancy(word: str) -> None:
    """Refuse look-alikes of plain characters, such as typographic quotes and dashes."""
    found = next((character for character in word if character in FANCY), None)
    if found:
        typed = shlex.quote("".join(FANCY.get(each, each) for each in word))
        raise UserError(
            f"{word}: U+{ord(found):04X} is a look-alike of a keyboard character, probably "
            f"copied from a web page. Type {typed}"
        )


def _is_readable(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def at_home(path: str) -> str:
    """Return a path with `~` expanded to the home folder."""
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        typed = f"./{path}"
        raise UserError(
            f"{path}: no user has that name; for a folder here, type {typed}"
        ) from error


def name_and_folder(word: str) -> tuple[str, str]:
    """Return the two parts of `mine=results`; of a folder without a name, an empty text and it.

    A folder that has a `=` in its own name is taken as it is.
    """
    name, equals, folder = word.partition("=")
    has_name = equals and re.match(r"\w", name) and "/" not in name and not Path(word).exists()
    return (name, folder) if has_name else ("", word)


def quoted(text: str) -> str:
    """Return a text quoted for Hydra, whatever characters it has."""
    backslashes = re.compile(r"(\\+)(?='|$)")  # must be doubled before a quote or at the end
    return "'" + backslashes.sub(r"\1\1", text).replace("'", "\\'") + "'"


def select(key: str, names: Sequence[str]) -> str:
    """Return the argument that selects names: `row=[ResNet-20,ResNet-32]`, as people type it."""
    words = [name if TYPED.fullmatch(name) else quoted(name) for name in names]
    return f"{key}={words[0]}" if len(words) == 1 else f"{key}=[{','.join(words)}]"


def without(words: Iterable[str], keys: Sequence[str]) -> list[str]:
    """Return a command line's words except settings of the given keys and their subkeys."""
    return [word for word in words if not re.match(rf"({'|'.join(keys)})[.=]", word)]
