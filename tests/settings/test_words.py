"""Paths and names on the command line: quoted, with a tilde, in Hydra's own grammar."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from resnet_repro.cli.verbs import VERBS
from resnet_repro.settings.words import quoted


@pytest.fixture
def asked(monkeypatch):
    """Have two verbs do nothing; return the configurations that they are asked with."""
    configs = []
    for verb in ("status", "import"):
        monkeypatch.setitem(VERBS, verb, lambda config: configs.append(config) or 0)
    return configs


@pytest.mark.parametrize(
    "path",
    ["a=b", "a#b", "a&b", "my data (1)/x", "été", "a,b", "a:b", "it's", 'a"b', "[a]", "1e3", "true",
     "a\\b", "{a}", "a;b!", "x%20y", "-x"],
)  # fmt: skip
def test_a_path_is_taken_as_it_stands(run_cli, asked, path):
    keys = ("results", "weights", "data.root", "data.title")
    outcome = run_cli("import", *(f"{key}={path}" for key in keys))
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
        assert run_cli("import", *words, "weights=~/x.pth").code == 0
        assert asked[-1].results == str(results)
        assert asked[-1].weights == str(home / "x.pth")
    assert (home / "theirs/runs/multirun.yaml").is_file()
    assert not list(tmp_path.glob("~*"))


@pytest.mark.parametrize("where", ["a word", "a file", "the environment"])
def test_a_tilde_is_the_home_folder(where, tmp_path, monkeypatch, run_cli):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    words = ["experiment=cifar_depth", "row=ResNet-20", "data.download=false"]
    if where == "a word":
        words.append("data.root=~/my data")
    elif where == "a file":
        (tmp_path / "mine" / "local").mkdir(parents=True)
        text = "# @package _global_\ndata: {root: ~/my data}\n"
        (tmp_path / "mine" / "local" / "default.yaml").write_text(text)
        words = ["--config-dir", str(tmp_path / "mine"), *words, "local=default"]
    else:
        monkeypatch.setenv("RESNET_REPRO_DATA", "~/my data")
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert f"there is no CIFAR-10 in {tmp_path}/home/my data, and" in outcome.err
    assert not (tmp_path / "~").exists()
