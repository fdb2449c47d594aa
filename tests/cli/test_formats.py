"""The formats that each verb has."""

import json
import math
from pathlib import Path

import pytest

from resnet_repro.cli.output import FORMATS, TABLE
from resnet_repro.cli.verbs import VERBS
from resnet_repro.report.documents import as_json
from resnet_repro.report.render import RENDERERS
from tests.support.experiments import QUICKSTART
from tests.support.runs import SMALL


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plan", QUICKSTART, "format=csv"), "format=csv: plan supports md or json"),
        (
            ("compare", "a", "b", "format=yaml"),
            "compare supports md, csv, json or tex",
        ),
        ((*SMALL, "format=html"), "format=html: run supports md, csv, json or tex"),
        (("report", "format=json"), "format=json: `report` has one format only"),
        (("submit", QUICKSTART, "format=json"), "format=json: `submit` has one format only"),
    ],
)
def test_a_format_that_a_verb_has_not_is_refused_at_once(run_cli, tmp_path, words, message):
    outcome = run_cli(*words)
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err
    assert not (tmp_path / "results").exists()


def test_the_formats_are_those_of_tables_and_verbs():
    assert tuple(RENDERERS) == TABLE
    assert FORMATS.keys() < VERBS.keys()


def test_json_has_no_nan_and_no_infinity():
    text = as_json({"a": [math.nan, -math.inf, 0.1], "b": Path("results")})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, None, 0.1], "b": "results"}
