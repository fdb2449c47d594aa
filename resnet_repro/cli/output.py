"""The output of a verb: text as it comes, or a document in another format, alone on stdout.

With a format other than `md`, stdout is for another program. Everything else is then printed to
stderr, and the document at the end: after an error there is none, and several experiments are one
document.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from resnet_repro.distributed.started import is_silent
from resnet_repro.errors import UserError
from resnet_repro.plan import Plan
from resnet_repro.report.documents import as_json

T = TypeVar("T")

TABLE = ("md", "csv", "json", "tex")
# The formats of each verb; a verb that is not listed has one format only.
FORMATS = {
    "run": TABLE,
    "evaluate": TABLE,
    "table": TABLE,
    "compare": TABLE,
    **dict.fromkeys(
        ("list", "plan", "verify", "status", "explain", "collect", "import", "bench"),
        ("md", "json"),
    ),
}

_kept: list[Any] = []  # documents or texts to print at the end


def check_format(verb: str, kind: str) -> None:
    """Raise a UserError unless a verb has a format."""
    if verb not in FORMATS and kind != "md":
        raise UserError(f"format={kind}: `{verb}` has one format only; leave format= out")
    if verb in FORMATS and kind not in FORMATS[verb]:
        *others, last = FORMATS[verb]
        raise UserError(f"format={kind}: {verb} supports {', '.join(others)} or {last}")


def emit(kind: str, document: T, text: Callable[[T], str]) -> None:
    """Print a verb's output, now or at the end.

    Args:
        kind: The format.
        document: The output as a value, for `json`: an object for one experiment, or a list.
        text: Function that renders the document in any other format.
    """
    if kind == "md":
        print(text(document), flush=True)
    else:
        _kept.append(document if kind == "json" else text(document))


@contextmanager
def collected() -> Iterator[None]:
    """Print all documents at the end; after an error, print nothing.

    Several lists or objects are combined into one list.
    """
    _kept.clear()
    yield
    if all(isinstance(each, str) for each in _kept):
        print("".join(f"{text}\n" for text in _kept), end="", flush=True)
        return
    is_object = len(_kept) == 1 and not isinstance(_kept[0], list)
    several = [each if isinstance(each, list) else [each] for each in _kept]
    document = _kept[0] if is_object else [each for some in several for each in some]
    print(as_json(document), end="", flush=True)


@contextmanager
def reserve_stdout(kind: str) -> Iterator[None]:
    """If stdout is for another program, redirect everything that is printed inside to stderr."""
    if kind == "md":
        yield
        return
    with (
        _descriptor_to_stderr(),
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(sys.stderr or nowhere),
    ):
        yield


@contextmanager
def _descriptor_to_stderr() -> Iterator[None]:
    """Redirect what libraries and child processes print to stderr too."""
    try:
        before = os.dup(1)
    except OSError:  # stdout is closed
        yield
        return
    try:
        target = os.dup(2)
    except OSError:
        target = os.open(os.devnull, os.O_WRONLY)
    os.dup2(target, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(target)


def emit_table(plan: Plan, kind: str) -> None:
    """Write the table of a plan from its records, and print it in a format."""
    from resnet_repro.records.find_archives import CHANGED
    from resnet_repro.report.published import published_text
    from resnet_repro.report.render import render
    from resnet_repro.report.write import write_outputs

    if is_silent():
        return
    made, pictures = write_outputs(plan)
    emit(kind, made, lambda table: render(table, kind).removesuffix("\n"))
    folder = plan.results / plan.name
    others = sorted(each for kind in CHANGED for each in folder.glob(f"{kind}/table.md"))
    if others and plan.folder == folder and not any(line.runs for line in made.lines):
        print(f"\nRecorded with changed settings: {', '.join(map(str, others))}", file=sys.stderr)
    if text := published_text(plan):
        print(f"\n{text}", file=sys.stderr)
    if pictures:  # on stderr, as stdout has the table
        files = [plan.folder / "table.md", *pictures]
        print("\n".join(["", "Written:", *(f"  {file}" for file in files)]), file=sys.stderr)
