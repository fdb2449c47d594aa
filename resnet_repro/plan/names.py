"""Names of folders: readable, the same on every machine, and short."""

import hashlib
import re
from collections.abc import Iterable

MOST_CHARACTERS = 100  # of a folder's name, before a hash


def digest(text: str) -> str:
    """Return the short hash of a text that ids and folders have."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def slug(name: str) -> str:
    """Return a row's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.+=-]+", "-", name).strip("-")


def folder_name(start: str, words: Iterable[str]) -> str:
    """Return a readable name of a folder; a hash ends it where it does not hold all the words."""
    listed = ",".join(words)
    joint = "," if listed and not start.endswith("-") else ""
    text = f"{start}{joint}{listed}".translate(str.maketrans("", "", "[]"))
    short = re.sub(r"[^A-Za-z0-9.,+=_-]+", "-", text)[:MOST_CHARACTERS].rstrip("-.,")
    return short if short == text else f"{short}-{digest(text)}"
