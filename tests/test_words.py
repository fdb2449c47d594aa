"""The words of a command line, as people type them, and what each is answered with."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from resnet_repro.cli import shipped
from resnet_repro.cli.help import VERBS as PAGES
from resnet_repro.cli.verbs import VERBS
from resnet_repro.records.results import public_command
from resnet_repro.settings.groups import CONF
from resnet_repro.settings.schema import Schema
from resnet_repro.settings.words import quoted

TABLE = "experiment=cifar_depth"
MINE = """\
# @package _global_
defaults:
  - override /model: cifar_resnet
  - override /data: cifar10
  - override /recipe: cifar_64k

rows:
  - {name: "ResNet-8, thin (1)", set: {model.depth: 8}}
"""


@pytest.fixture
def mine(tmp_path):
    """Return a folder of settings with an experiment `shallow`."""
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "shallow.yaml").write_text(MINE)
    return folder


@pytest.fixture
def asked(monkeypatch):
    """Have `status` do nothing; return the configurations that it is asked with."""
    configs = []
    monkeypatch.setitem(VERBS, "status", lambda config: configs.append(config) or 0)
    return configs


def test_experiments_are_put_together_as_hydra_does(monkeypatch):
    ConfigStore.instance().store(name="schema", node=Schema)
    names = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        right = {name: compose("config", [f"experiment={name}"]) for name in names[::4]}
        by_hydra = []
        monkeypatch.setattr(shipped, "compose", lambda *w: by_hydra.append(w) or compose(*w))
        for name in names:
            made = shipped.compose_shipped(name)
            if name in right:
                assert OmegaConf.to_yaml(made) == OmegaConf.to_yaml(right[name])
    assert len(by_hydra) == 1  # the base; no experiment needs Hydra by itself


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+experiment=x"], "settings have no + here. Type experiment=x"),
        ([TABLE, "++recipe.lr=1"], "settings have no + here. Type recipe.lr=1"),
        ([TABLE, "~recipe.warmup"], "changed, not taken away. Type recipe.warmup=..."),
        ([TABLE, "recipe.warmup=null"], "cannot be null; set what is in it: recipe.warmup.lr"),
        ([TABLE, "recipe.lr=null"], "recipe.lr: it cannot be null"),
        ([TABLE, "recipe.lr="], "recipe.lr= has no value: type it right after the ="),
        ([TABLE, "recipe.lr=0.1,"], "a comma too many at the end: type recipe.lr=0.1"),
        ([TABLE, "recipe=5"], "there is no recipe=5; there are cifar_64k"),
        ([TABLE, "data=null"], "there is no data=null; there are cifar10"),
        (["experiment"], "type experiment=..."),
        (["experiment", "cifar_depth"], "type experiment=cifar_depth"),
        (["experiment", "=", "cifar_depth"], "type experiment=cifar_depth"),
        ([TABLE, "row", "ResNet-20"], "type row=ResNet-20"),
        ([TABLE, "ResNet-20"], "type row=ResNet-20"),
        ([TABLE, "row=ResNet-18", "A"], "a value with a space is quoted: 'row=ResNet-18 A'"),
        (["results=my", "disk"], "a value with a space is quoted: 'results=my disk'"),
        (["-experiment", "cifar_depth"], "settings have no dashes. Type experiment=cifar_depth"),
        ([TABLE, "--seed", "3"], "settings have no dashes. Type seeds=3"),
        (["--confg-dir", "mine"], "no flag --confg-dir: did you mean --config-dir?"),
        (["\u2014config-dir", "mine"], "is not the keyboard's, as on web pages. Type --config-dir"),
        ([TABLE, "row=ResNet\u201120"], "U+2011 in it is not the one of the keyboard"),
        ([TABLE, "row=\u201cResNet-20\u201d"], "Type 'row=\"ResNet-20\"'"),
        (["experiment=cifar_depth,"], "a comma too many: type experiment=cifar_depth"),
        (["experiment="], "type experiment=NAME, one of cifar_depth"),
        ([TABLE, "row=Resnet20"], "no row Resnet20: did you mean ResNet-20?"),
        ([TABLE, "recipe.lr=[0.1"], "A list is 'recipe.lr=[1,2]'"),
        ([TABLE, "results=~nobody-here/x"], "no user has that name"),
        (["--config-dir", "~nobody-here/x"], "no user has that name"),
        (["--config-dir"], "--config-dir takes a folder in the next word"),
        (["--config-dir", "nowhere"], "nowhere: there is no such folder"),
        (["--cfg", "jobs", TABLE], "--cfg takes job, hydra or all"),
        (["-m", "--cfg", "job", TABLE], "Only one of --run, --multirun, --cfg"),
        (["help", "plna"], "no verb plna: did you mean plan?"),
        (["-sc"], 'type eval "$(resnet-repro -sc install=bash)"'),
        (["-sc", "install=tcsh"], "bash, zsh or fish"),
    ],
)
def test_it_is_said_what_to_type_instead(run_cli, words, message):
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert outcome.out == ""


@pytest.mark.parametrize(
    "path",
    ["a=b", "a#b", "a&b", "my data (1)/x", "été", "a,b", "a:b", "it's", 'a"b', "[a]", "1e3", "true",
     "a\\b", "{a}", "a;b!", "x%20y", "-x"],
)  # fmt: skip
def test_a_path_is_taken_as_it_stands(run_cli, asked, path):
    keys = ("results", "weights", "data.root", "data.title")
    outcome = run_cli("status", *(f"{key}={path}" for key in keys))
    assert outcome.code == 0, outcome.err
    assert [OmegaConf.select(asked[-1], key) for key in keys] == [path] * 4


def test_words_in_hydras_own_grammar_stay(run_cli, asked, monkeypatch):
    monkeypatch.setenv("WHERE", "there")
    for word, right in (
        ("results='a b'", "a b"),
        ('results="a,b"', "a,b"),
        (r"results=a\,b", "a,b"),
        ("results=${oc.env:WHERE}/x", "there/x"),
    ):
        assert run_cli("status", word).code == 0
        assert asked[-1].results == right
    assert run_cli("-m", "status", "results=a,b").code == 0
    assert [config.results for config in asked[-2:]] == ["a", "b"]


@pytest.mark.parametrize("text", ["", "\\", "\\\\", "\\'", "a\\'b", "''", '"', "a\nb", "[x]", "é"])
def test_a_quoted_text_is_read_back(text):
    assert OverridesParser.create().parse_override(f"k={quoted(text)}").value() == text


def test_the_home_folder_is_meant_by_its_sign(run_cli, asked, mine, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "mine/local").mkdir()
    (tmp_path / "mine/local/default.yaml").write_text("# @package _global_\nresults: ~/theirs\n")
    (tmp_path / "mine").rename(home / "mine")
    for words, results in (
        (["results=~/out"], home / "out"),
        (["results='~/out'"], home / "out"),
        (["results=~"], home),
        (["--config-dir=~/mine"], home / "theirs"),
        (["--config-dir", "~/mine", "experiment=shallow", "-m"], home / "theirs"),
    ):
        assert run_cli("status", *words, "weights=~/x.pth").code == 0
        assert asked[-1].results == str(results)
        assert asked[-1].weights == str(home / "x.pth")
    assert (home / "theirs/runs/multirun.yaml").is_file()
    assert not list(tmp_path.glob("~*"))


def test_after_a_verb_that_reads_folders_a_word_is_one(run_cli, tmp_path):
    for name in ("lr=0.1", "runs/lr=0.1", "seeds=0"):
        (tmp_path / name).mkdir(parents=True)
    for words, named in (
        (["verify", "lr=0.1"], "lr=0.1"),
        (["verify", "./seeds=0"], "seeds=0"),
        (["compare", "runs/lr=0.1", "lr=0.1"], "runs/lr=0.1"),
    ):
        outcome = run_cli(*words)
        assert outcome.code == 1
        assert outcome.err.startswith(f"resnet-repro: {named}: there is no records.json in it")
    outcome = run_cli("verify", "seeds=0", "experiment=none")  # a setting, whatever lies there
    assert "there is no experiment=none" in outcome.err


def test_rows_are_named_as_they_are(run_cli, mine):
    for word in ("row=ResNet-8, thin (1)", "row= ResNet-8, thin (1) "):
        outcome = run_cli("status", "--config-dir", "mine", "experiment=shallow", word)
        assert "ResNet-8-thin-1-seed0" in outcome.out, outcome.err
    outcome = run_cli("status", TABLE, "row=[ResNet-20,ResNét-32]")
    assert "no row ResNét-32: did you mean ResNet-32?" in outcome.err


def test_of_two_settings_for_one_key_the_last_counts_and_it_is_said(run_cli):
    outcome = run_cli("status", "experiment=quickstart", "seeds=0", "row=ResNet-8", "seeds=[1,2]")
    assert outcome.out.count("ResNet-8-seed") == 2
    assert "ResNet-8-seed0" not in outcome.out
    assert outcome.err == "seeds is there twice; the last one counts: seeds=[1,2]\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"paper:\n\ttitle: x\n", "line 3: found character '\\t' that cannot start any token (in"),
        (b"name: bad\nname: bad\n", "line 3: found duplicate key name"),
        (b"paper: {title: Caf\xe9}\n", "line 2: the byte 0xe9 is not UTF-8"),
        (b"- a\n", ": it must hold settings, a line `key: value` for each"),
        (b"7\n", ": it must hold settings"),
        (b"a: \0\n", "line 2: the character U+0000 is not allowed"),
        (b"~: x\n", ": Incompatible key type 'NoneType'"),
        (b"a: " + b"[" * 1500, ": it is nested too deeply"),
        (b"defaults: [bad]\n", " is among its own defaults"),
        (b"defaults: no\n", ": defaults is a list"),
        (b"defaults: [override /modle: x]\n", ", line 2: there is no group modle"),
        (b"defaults: [override /recipe: latin]\n", "recipe/latin.yaml, line 1: the byte 0xe9"),
        (b"paper: {margin: big}\n", "line 2: paper.margin: 'big' is not a number"),
        (b"name: bad\nrows: null\n", "line 3: rows: it cannot be null"),
        (b"rows: [{name: a, seeds: 0}]\n", "line 2: seeds: it is a list"),
        (b"papr: 1\n", "line 2: there is no setting papr: did you mean paper?"),
    ],
)
def test_a_file_that_is_not_right_is_named_with_its_line(run_cli, mine, content, message):
    (mine.parent / "recipe").mkdir()
    (mine.parent / "recipe/latin.yaml").write_bytes(b"lr: \xe9")
    (mine / "bad.yaml").write_bytes(b"# @package _global_\n" + content)
    outcome = run_cli("status", "--config-dir", "mine", "experiment=bad")
    assert outcome.code == 1
    assert message in outcome.err
    assert outcome.err.startswith("resnet-repro: mine/")
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_file_that_is_not_right_hides_no_other(run_cli, mine):
    (mine / "bad.yaml").write_bytes(b"# @package _global_\npaper: {title: Caf\xe9}\n")
    (mine / "header.yaml").write_bytes(b"\xef\xbb\xbf" + MINE.encode())
    (mine / "windows.yaml").write_bytes(MINE.replace("\n", "\r\n").encode())
    listed = run_cli("list", "--config-dir", "mine")
    assert listed.code == 0
    for name in ("shallow", "windows", "cifar_depth"):
        assert f"| {name} " in listed.out
    assert "experiment=bad cannot be read: " in listed.out
    assert "bad.yaml, line 2: the byte 0xe9 is not UTF-8: save it as UTF-8" in listed.out
    assert "header.yaml begins with a byte-order mark" in listed.out
    reported = run_cli("report", "--config-dir", "mine")
    assert reported.err.count("cannot be read") == 2
    assert "nothing is recorded in results" in reported.err


def test_a_recorded_command_has_what_it_takes_to_run_it(run_cli, mine, tmp_path, monkeypatch):
    words = [word for word in SMALL if not word.startswith(("experiment", "row"))]
    text = MINE.replace("cifar10", "synthetic").replace("cifar_64k", "quickstart")
    (mine / "shallow.yaml").write_text(text)
    outside = tmp_path / "elsewhere"
    (tmp_path / "mine").rename(outside)
    line = ["--config-dir", str(outside), "experiment=shallow", *words]
    assert run_cli(*line).code == 0
    (file,) = (tmp_path / "results/shallow").glob("changed-*/records.json")
    command = f"--config-dir elsewhere experiment=shallow {' '.join(words[:1])}"
    assert command in file.read_text()  # as it is named from here
    assert str(tmp_path) not in file.read_text()
    assert f"--config-dir {outside} experiment=shallow" in run_cli("explain", *line).out
    for typed, public in (
        ("--config-dir /abs/mine experiment=x", "--config-dir DIR experiment=x"),
        ("--config-dir ../mine experiment=x", "--config-dir DIR experiment=x"),
        ("--config-dir mine experiment=x", "--config-dir mine experiment=x"),
        ("import weights=/a/x.pth data.root='/d e'", "import weights=PATH"),
        ('''import "weights='/a b/x.pth'"''', "import weights=PATH"),
    ):
        assert public_command(f"resnet-repro {typed}") == f"resnet-repro {public}"


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


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pl", ["plan"]),
        ("plan experiment=cifar_d", ["experiment=cifar_depth"]),
        (f"{TABLE} row=ResNet-1", ["row=ResNet-110", "row=ResNet-1202"]),
        (f"plan {TABLE} row=ResNet-1", ["row=ResNet-110", "row=ResNet-1202"]),
        ("--config-dir mine experiment=sh", ["experiment=shallow"]),
        ("--config-dir mi", ["mine/"]),
        ("--config-dir mine experiment=shallow row=", [r"row=ResNet-8,\ thin\ \(1\)"]),
        ("--config-dir mine experiment=shallow 'row=", ["row=ResNet-8, thin (1)"]),
        ("plan data=cifar1", ["data=cifar10", "data=cifar100"]),
        ("plan see", ["seeds="]),
        ("table format=j", ["format=json"]),
        ("verify mi", ["mine/"]),
        ("help su", ["submit"]),
        ("--cf", ["--cfg"]),
        (f"plan {TABLE} recipe.warmup.i", ["recipe.warmup.iterations="]),
    ],
)
def test_completion_knows_what_can_stand_there(run_cli, mine, monkeypatch, line, found):
    line = f"resnet-repro {line}"
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    monkeypatch.setenv("COMP_LINE", f"{line} and=more")  # behind the cursor
    assert run_cli("-sc", "query=bash").out.splitlines() == found


def test_completion_is_installed_in_bash(tmp_path):
    """And it does not wait for torch."""
    program = tmp_path / "resnet-repro"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -X importtime -m resnet_repro "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(resnet-repro -sc install=bash 2> /dev/null)"
        COMP_LINE="resnet-repro experiment=imagenet_plain row=ResNet-18"
        COMP_POINT=${#COMP_LINE}
        _resnet_repro
        printf '%s\\n' "${COMPREPLY[@]}"
        resnet-repro -sc query=bash 2>&1 | grep -c 'torch\\|matplotlib'
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["row=ResNet-18\\ A", "0"], done.stderr
