"""The keys of JSON documents: those that are documented, and those that there are."""

import re

from tests.support.paths import ROOT


def documented():
    """Return the documented keys, by verb and by the keys that lead to an object."""
    text = (ROOT / "resnet_repro/report/json.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*) \| (`.*`) \|$", text.split("| JSON of | keys |")[1], re.M)
    return {name: re.findall(r"`(\w+)`", keys) for name, keys in rows}


def keys_in(document, name):
    """Return, by the documented name, the keys of a document and of what is in it."""
    found, path = {}, re.findall(r"`(.*?)`", name.split(",")[0])[1:]
    objects = document if isinstance(document, list) else [document]
    for key in path:
        inner = [each[key] for each in objects if each[key]]
        objects = [each for some in inner for each in (some if isinstance(some, list) else [some])]
    assert objects, f"{name}: no object of the kind was made"
    for each in objects:
        found.setdefault(tuple(each), each)
    return [list(keys) for keys in found]
