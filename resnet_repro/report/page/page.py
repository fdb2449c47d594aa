"""One self-contained HTML page of all experiments with records."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from resnet_repro import __version__
from resnet_repro.judge.measures import MEASURES, first_measure
from resnet_repro.plan import Plan
from resnet_repro.records.headline import headline
from resnet_repro.report.cells import evidence_text
from resnet_repro.report.page.changed import compare_changed
from resnet_repro.report.page.sections import Section, make_section
from resnet_repro.report.pictures.registry import caption
from resnet_repro.report.remarks import code, machine, protocol_text
from resnet_repro.settings.sweep import typed
from resnet_repro.text import duration
from resnet_repro.visible import visible

HERE = Path(__file__).parent
PAGE_FILE = "report.html"
VERDICTS = ("matches", "better", "worse", "undecided", "not comparable")
CLAIMS = ("holds", "fails", "undecided")


def make_page(plans: Iterable[Plan], names: Iterable[str] = ()) -> str | None:
    """Return the page of all experiments with records; None if there are none.

    Args:
        plans: The experiments to look for records of.
        names: Names of all experiments; those without records are listed on the page.
    """
    sections = [section for plan in plans if (section := make_section(plan))]
    if not sections:
        return None
    shown = {section.plan.name for section in sections}
    return page_text(sections, [name for name in names if name not in shown])


def _with_code(text: str) -> Markup:
    """Return a remark as HTML, with text between backticks as code."""
    safe = str(escape(visible(text).replace("+-", "±")))
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", safe))


def page_text(sections: Sequence[Section], without: Sequence[str] = ()) -> str:
    """Return the page as HTML.

    Args:
        sections: The page's sections, one for each experiment.
        without: Names of experiments without records.
    """
    jinja = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    jinja.filters |= {
        "code": code,
        "duration": duration,
        "evidence": evidence_text,
        "headline": headline,
        "protocol_text": protocol_text,
        "machine": machine,
        "shell": lambda words: shlex.join(typed(words)),
        "with_code": _with_code,
    }
    template = jinja.from_string((HERE / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        sections=sections,
        compared=compare_changed(sections),
        without=without,
        # The style sheet is our own file, so it needs no escaping.
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        version=__version__,
        caption=caption,
        verdicts=VERDICTS,
        claims=CLAIMS,
        expected="error"
        if all(first_measure(each.plan).lower_is_better for each in sections)
        else "value",
        first=lambda section: first_measure(section.plan),
        measures={key: measure.label for key, measure in MEASURES.items()},
    )
