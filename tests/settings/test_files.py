"""Files of settings: those of a user and of a machine, and those that are not right."""

import json
from pathlib import Path

import pytest

from resnet_repro.cli import compose
from tests.support.experiments import MINE
from tests.support.paths import ROOT
from tests.support.runs import SMALL, the_run


def test_the_config_of_a_user_is_found(run_cli, tmp_path):
    """The README's own."""
    lines = (ROOT / "README.md").read_text().splitlines()
    end = lines.index("    resnet-repro --config-dir mine experiment=shallow")
    begin = max(i for i in range(end) if lines[i] == "    # @package _global_")
    (tmp_path / "mine/experiment").mkdir(parents=True)
    indented = [line[4:] for line in lines[begin:end] if line.startswith("    ")]
    text = "\n".join(indented)
    (tmp_path / "mine/experiment/shallow.yaml").write_text(text)
    mine = run_cli("status", "--config-dir", "mine", "experiment=shallow")
    assert mine.code == 0, mine.err
    assert "ResNet-14-seed2" in mine.out
    (tmp_path / "mine/experiment/other.yaml").write_text(f"{text}\nname: cifar_depth\n")
    other = run_cli("table", "--config-dir", "mine", "experiment=other")
    assert "experiment=other has name: cifar_depth; leave that out" in other.err
    assert not (tmp_path / "results").exists()


@pytest.fixture
def few(monkeypatch):
    """Leave few experiments beside the user's own: to compose all of ours takes seconds."""
    real, ours = compose.options, {path.stem for path in (ROOT / "conf/experiment").glob("*.yaml")}
    left_out = ours - {"cifar_depth"}
    monkeypatch.setattr(
        compose, "options", lambda group: [each for each in real(group) if each not in left_out]
    )


def test_a_broken_experiment_file_is_named_and_the_others_are_listed(run_cli, tmp_path, few):
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("# @package _global_\nrows: [{name: a, set: {modle.x: 1}}]\n")
    listed = run_cli("list", "--config-dir", "mine")
    assert listed.code == 0
    assert "experiment=bad cannot be read: row a sets modle.x" in listed.out
    assert "| cifar_depth " in listed.out
    for text, message in (
        ("name: [", "expected the node content"),
        ("rows: []", "must start with the line: # @package _global_"),
        ("# @package _global_\n", "bad has no rows to run"),
    ):
        (folder / "bad.yaml").write_text(text)
        outcome = run_cli("plan", "--config-dir", "mine", "experiment=bad")
        assert outcome.code == 1
        assert message in outcome.err
        assert "Traceback" not in outcome.err


def test_a_file_with_the_name_of_one_of_ours_is_not_passed_over(run_cli, mine):
    (mine / "cifar_depth.yaml").write_text(MINE)
    outcome = run_cli("status", "--config-dir", "mine", "experiment=cifar_depth")
    assert outcome.code == 1
    assert "mine/experiment/cifar_depth.yaml would not be read, as " in outcome.err
    (mine / "both.yaml").write_text(
        "# @package _global_\nrows:\n  - {name: a, set: {model.depth: 20}}\n"
        "  - {name: b, members: [a], set: {evaluation.flip: true}}\n"
    )
    outcome = run_cli("status", "--config-dir", "mine", "experiment=both")
    assert "row b: set is for rows that are trained, not for members" in outcome.err


def test_a_machines_own_settings_are_deviations_too(run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr("resnet_repro.cli.compose.options", lambda group: ["quickstart"])
    (tmp_path / "mine/local").mkdir(parents=True)
    (tmp_path / "mine/local/default.yaml").write_text("# @package _global_\nrecipe: {lr: 0.02}\n")
    done = run_cli("--config-dir", "mine", *SMALL)
    assert done.code == 0, done.err
    assert "recipe.lr = 0.02 (experiment: 0.05)." in done.out
    swept = run_cli("status", "--config-dir", "mine", *SMALL, "recipe.lr=0.02,0.03")
    assert the_run(tmp_path).name in swept.out
    (table,) = (tmp_path / "results/quickstart").glob("changed-*/table.md")
    assert run_cli("verify", "--config-dir", "mine", "results").code == 0
    (tmp_path / "results/runs/ResNet-8-seed7-01234567").mkdir()  # of no table, so of any
    reported = run_cli("report", "--config-dir", "mine")
    assert reported.code == 0, reported.err
    assert "recipe.lr = 0.02" in (tmp_path / "results/report.html").read_text()
    # They are in the records, so that the table is the same where there is no such file.
    made = table.read_text()
    (tmp_path / "mine/local/default.yaml").unlink()
    words = ["table", *SMALL, "recipe.lr=0.02", "--config-dir", "mine"]
    assert run_cli(*words).code == 0
    assert table.read_text().replace("recipe.lr=0.02 ", "") == made.replace("recipe.lr=0.02 ", "")


def test_options_that_a_machines_own_file_chooses_are_deviations_too(run_cli, tmp_path):
    (tmp_path / "mine/local").mkdir(parents=True)
    (tmp_path / "mine/local/default.yaml").write_text(
        "# @package _global_\ndefaults: [override /recipe: cifar_64k, override /cluster: slurm]\n"
    )
    done = run_cli("--config-dir", "mine", *SMALL, "recipe.bn_batch=16")
    assert done.code == 0, done.err
    (records,) = (tmp_path / "results/quickstart").glob("changed-*/records.json")
    changes = json.loads(records.read_text())["changes"]
    assert "recipe=cifar_64k" in changes and not any("cluster" in each for each in changes)
    (tmp_path / "mine/local/default.yaml").unlink()
    assert run_cli("verify", "results").code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"paper:\n\ttitle: x\n", "line 3: found character '\\t' that cannot start any token (in"),
        (b"name: bad\nname: bad\n", "line 3: found duplicate key name"),
        (b"paper: {title: Caf\xe9}\n", "line 2: the byte 0xe9 is not UTF-8"),
        (b"- a\n", ": must hold settings, one line `key: value` each"),
        (b"7\n", ": must hold settings"),
        (b"a: \0\n", "line 2: the character U+0000 is not allowed"),
        (b"~: x\n", ": Incompatible key type 'NoneType'"),
        (b"a: " + b"[" * 1500, ": nested too deeply"),
        (b"defaults: [bad]\n", " includes itself in its defaults"),
        (b"defaults: no\n", ": defaults must be a list"),
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


def test_a_file_that_is_not_right_hides_no_other(run_cli, mine, few):
    (mine / "bad.yaml").write_bytes(b"# @package _global_\npaper: {title: Caf\xe9}\n")
    (mine / "header.yaml").write_bytes(b"\xef\xbb\xbf" + MINE.encode())
    (mine / "windows.yaml").write_bytes(MINE.replace("\n", "\r\n").encode())
    listed = run_cli("list", "--config-dir", "mine")
    assert listed.code == 0
    for name in ("shallow", "windows", "cifar_depth"):
        assert f"| {name} " in listed.out
    assert "experiment=bad cannot be read: " in listed.out
    assert "bad.yaml, line 2: the byte 0xe9 is not UTF-8: save it as UTF-8" in listed.out
    assert "header.yaml starts with a byte-order mark" in listed.out
    reported = run_cli("report", "--config-dir", "mine")
    assert reported.err.count("cannot be read") == 2
    assert "nothing is recorded in results" in reported.err


def test_files_of_other_systems_are_no_settings(run_cli, tmp_path, monkeypatch):
    """macOS writes ._NAME beside NAME on some disks, and finds NAME.yaml as name.yaml on others."""
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package _global_\ndefaults: [quickstart]\n")
    (folder / "._mine.yaml").write_bytes(b"\0\x05\x16\x07\xb0")
    listed = run_cli("list", "--config-dir", "mine")
    assert (listed.code, listed.err) == (0, "")
    assert "._mine" not in run_cli("--help", "--config-dir", "mine").out
    there = Path.is_file
    monkeypatch.setattr(
        Path, "is_file", lambda path: there(path.with_name(path.name.lower())) or there(path)
    )
    other = run_cli("status", "experiment=Quickstart")
    assert other.err.endswith("no experiment=Quickstart: did you mean quickstart?\n")
