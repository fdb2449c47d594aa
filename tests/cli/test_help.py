"""The help."""

import os
import subprocess
import sys

import pytest

from resnet_repro.cli.help import HELP_PAGES as PAGES
from resnet_repro.cli.verbs import VERBS
from tests.support.paths import ROOT


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_is_about_that_verb(run_cli, verb):
    page = run_cli(verb, "--help")
    assert page.code == 0
    assert [run_cli(*w).out for w in (["--help", verb], ["help", verb], [verb, "-h"])] == [
        page.out
    ] * 3
    lines = page.out.splitlines()
    assert 10 <= len(lines) <= 25
    assert max(map(len, lines)) <= 100
    assert PAGES[verb].does.lower() in page.out.lower()
    assert "\n  resnet-repro" in page.out  # an example
    general = run_cli("help").out
    assert page.out != general == run_cli("--help").out
    assert PAGES[verb].does in general


def test_help_is_quick_and_complete():
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "resnet_repro", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "torch" not in process.stderr
    assert "matplotlib" not in process.stderr
    for name in ("verify", "quickstart", "cifar_depth", "row=ResNet-110"):
        assert name in process.stdout
