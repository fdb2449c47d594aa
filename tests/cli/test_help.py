"""The help."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from resnet_repro.cli.compose import asked_plan
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


def examples():
    """Return the words of every command about an experiment in README, help and settings."""
    files = [ROOT / "README.md", *(ROOT / "conf").rglob("*.yaml")]
    texts = [*(file.read_text() for file in files), *(page.page for page in PAGES.values())]
    lines = re.sub(r"\\\n[# ]*", "", "\n".join(texts)).splitlines()
    commands = {line.strip("# ") for line in lines if re.match(r"[# ] +resnet-repro ", line)}
    # Without what follows: where it is written to, and what it does.
    typed = [re.split(r">| {3,}", line)[0] for line in sorted(commands)]
    found = [shlex.split(line, comments=True)[1:] for line in typed]
    named = ("experiment=", "sweep=")
    about = [words for words in found if any(word.startswith(named) for word in words)]
    # Not those with files or folders of the reader's own.
    own = ("experiment=NAME", "--config-dir", "plugins=", "-m", "steps.classification.weights=")
    return [words for words in about if not any(word.startswith(own) for word in words)]


@pytest.mark.slow  # a second for each experiment
def test_every_example_names_settings_that_there_are(run_cli, monkeypatch):
    for verb in VERBS:
        monkeypatch.setitem(VERBS, verb, lambda config: 0 if asked_plan(config).rows else 1)
    commands = examples()
    assert len(commands) > 60
    for words in commands:
        outcome = run_cli(*words)
        assert (outcome.code, outcome.err) == (0, ""), words
