"""Damage, mix-ups and hostile files: named, never believed, and nothing is lost by them."""

import csv
import json
import logging
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import pytest
import torch
from conftest import ROOT, SMALL, changed
from test_engine import PowerCutError, timeless
from test_plan import plan
from test_report import SESSION, cells, error_of, results_of

from resnet_repro import files
from resnet_repro.cost.calibration import Calibration
from resnet_repro.engine import checkpoint, environment
from resnet_repro.engine import train as engine
from resnet_repro.engine.step import Step
from resnet_repro.errors import UserError
from resnet_repro.launch.slurm import queue
from resnet_repro.plan import Run
from resnet_repro.records import Record, archive
from resnet_repro.records.results import collect, write_records
from resnet_repro.report.pictures import all as plots
from resnet_repro.report.pictures.style import our_style
from resnet_repro.report.tables import build_table
from resnet_repro.report.write import write_report
from resnet_repro.visible import one_line, visible

PICTURES = plots.PICTURES
DEEP = b"[" * 100_000
HOSTILE = "a\x1b[31m\u202eb\nc"  # an escape sequence, a mark that turns the text round, a new line


@pytest.fixture(autouse=True)
def heard(monkeypatch, caplog):
    """Return what is warned of, also what was said before."""
    monkeypatch.setattr(archive, "_said", set())
    monkeypatch.setattr(logging.getLogger("resnet_repro"), "propagate", True)
    caplog.set_level(logging.INFO, "resnet_repro")
    return caplog


# Checkpoints


@pytest.fixture
def stopped(config, tmp_path, monkeypatch):
    """Return a run with checkpoints of iterations 4 and 3 of 6, and the events of a whole one."""
    config = changed(config, compute={"save_minutes": 0.0})
    run, folder = Run("ResNet-8", config), tmp_path / "stopped"
    engine.train(run, tmp_path / "whole")
    real, calls = Step.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) == 5:
            raise PowerCutError
        return real(*args)

    with monkeypatch.context() as context, pytest.raises(PowerCutError):
        context.setattr(Step, "__call__", cut)
        engine.train(run, folder)
    assert {"last.pt", "previous.pt"} <= {path.name for path in folder.iterdir()}
    return run, folder, timeless(Record(tmp_path / "whole").events())


def deeper(state):
    state["model"]["stages.9.weight"] = torch.zeros(1)
    return state


def wide(state):
    name = next(iter(state["model"]))
    state["model"][name] = state["model"][name].double()
    return state


def reshaped(state):
    state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(7)
    return state


def at(**progress):
    return lambda state: {**state, "progress": {**state["progress"], **progress}}


WRONG = {
    "a list": lambda state: [1, 2],
    "nothing": lambda state: None,
    "a missing entry": lambda state: {k: v for k, v in state.items() if k != "schedule"},
    "a newer entry": lambda state: {**state, "averages": {}},
    "another network": deeper,
    "another kind of number": wide,
    "another shape of momentum": reshaped,
    "no number of iterations": at(iteration=float("nan")),
    "too many iterations": at(iteration=7),
    "a missing field": lambda state: {**state, "progress": {"iteration": 4}},
    "another run": lambda state: {**state, "run": "ResNet-8-seed1-01234567"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_whole_checkpoint_with_wrong_content_is_not_used(stopped, heard, tmp_path, wrong):
    """The one before is, and stays until there is a new one."""
    run, folder, whole = stopped
    other = tmp_path / "other"
    other.mkdir()
    checkpoint.save(other, WRONG[wrong](torch.load(folder / "last.pt")))
    (other / "last.pt").replace(folder / "last.pt")
    engine.train(run, folder)
    assert timeless(Record(folder).events()) == whole
    what = "of another run (ResNet-8-seed1-01234567)" if wrong == "another run" else "damaged ("
    assert f"{folder / 'last.pt'} is {what}" in heard.text
    assert "previous.pt is used instead" in heard.text
    assert "going on from iteration 3" in heard.text
    assert (folder / "damaged.pt").is_file()


def test_one_changed_bit_is_found_wherever_it_is(stopped):
    run, folder, _ = stopped
    path = folder / "last.pt"
    content = path.read_bytes()

    def restore():
        return checkpoint.restore(folder, run.id, lambda state: None)["progress"]["iteration"]

    assert restore() == 4
    end = len(content)
    for place in [*range(0, end, end // 40), *range(end - 120, end)]:  # the zip's directory and all
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert restore() == 3, place
    path.write_bytes(content + b"x")
    assert restore() == 3


def test_a_checkpoint_of_an_older_version_is_read_with_a_word(stopped, heard):
    run, folder, whole = stopped
    state = torch.load(folder / "last.pt")
    del state["run"]
    torch.save(state, folder / "last.pt")
    engine.train(run, folder)
    assert timeless(Record(folder).events()) == whole
    assert "going on from iteration 4" in heard.text
    assert "does not say of which run it is" in heard.text


def test_another_runs_weights_are_neither_resumed_nor_tested(run_cli, tmp_path):
    assert run_cli(*SMALL, "seeds=[0,1]").code == 0
    first, second = sorted((tmp_path / "results/runs").glob("*-seed*"))
    own = (first / "last.pt").read_bytes()
    (first / "last.pt").write_bytes((second / "last.pt").read_bytes())
    another = ("evaluation.batch_norm=reestimated", "evaluation.batch_norm_images=32")
    outcome = run_cli("evaluate", *SMALL, *another, "seeds=[0]")
    assert outcome.code == 1
    assert f"last.pt is of another run ({second.name})" in outcome.err
    assert not json.loads((first / "evaluations.json").read_text()).keys() - {"single_view"}
    (first / "record.jsonl").unlink()
    outcome = run_cli(*SMALL, "seeds=[0]")
    assert outcome.code == 1
    assert f"last.pt is of another run ({second.name})" in outcome.err
    assert "no checkpoint in" in outcome.err
    (first / "last.pt").write_bytes(own)
    assert run_cli(*SMALL, "seeds=[0]").code == 0


# Tables


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return the plan of a table with two rows recorded, one of them in its run's folder too."""
    monkeypatch.setattr(plots, "PICTURES", {})  # which take a second
    made = plan("cifar_depth", f"results={tmp_path / 'results'}")
    found = results_of(made, ResNet_20=[8.9], ResNet_32=[7.9])
    write_records(made, found)
    (result,) = found["ResNet-20"]
    record = Record(made.results / "runs" / result.id)
    record.folder.mkdir(parents=True)
    counts = {"num_errors": 750, "num_images": 50000}
    speed = {"loss": 0.1, "lr": 0.1, "images_per_second": 50.0}
    record.add_session({**SESSION, "threads": 1, "data": "0123456789abcdef"})
    for iteration in (1000, 64000):
        record.append("train", iteration, **counts, **speed)
        record.append("test", iteration, protocol="single_view", num_errors=890, num_images=10000)
    record.add_evaluation("single_view", num_errors=890, num_images=10000)
    record.append("finished", 64000, seconds=7200.0, weights=result.weights)
    return made


def the_run(made):
    (folder,) = (made.results / "runs").glob("*-seed*")
    return folder


def shown(run_cli, *words):
    return run_cli("table", "experiment=cifar_depth", "format=md", *words)


def test_a_hostile_file_of_a_run_costs_that_run_alone(run_cli, made, heard):
    """What `records.json` has of it stays; nothing is a traceback, and nothing stops the table."""
    folder, records = the_run(made), made.folder / "records.json"
    write_records(made, collect(made))
    before = records.read_bytes()
    line = (folder / "record.jsonl").read_bytes().splitlines(keepends=True)[0]
    contents = {
        "environment.json": [b"{}", b"[1]", DEEP, b'[{"started": 1}]', b"\xff", b"", None],
        "evaluations.json": [
            b"[]",
            b'{"single_view": 3}',
            b'{"single_view": {"num_errors": -300, "num_images": 10}}',
            b'{"single_view": {"num_errors": 1e999, "num_images": 10}}',
            b'{"single_view": {"num_errors": true, "num_images": 10}}',
            b'{"single_view": {"num_errors": 1, "num_errors": 2, "num_images": 10}}',
            b'{"single_view": {"num_errors": 1, "num_images": 1%s}}' % (b"0" * 5000),
            DEEP,
            None,
        ],
        "record.jsonl": [
            line + b"[]\n",
            line + DEEP + b"\n",
            line + b'{"event": "finished", "iteration": 64001, "seconds": 1, "weights": "a"}\n',
            line + b'{"event": "finished", "iteration": 64000, "seconds": NaN, "weights": "a"}\n',
            line + b'{"event": ["finished"], "iteration": 64000}\n',
            line + line.replace(b"1000", b"999", 1),
            line + b'"\xe9"\n',
            None,
        ],
    }
    for name, each in contents.items():
        path = folder / name
        good = path.read_bytes()
        for content in each:
            path.unlink()
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content)
            heard.clear()
            archive._said.clear()
            found = collect(made)
            assert f"left out: {path} is damaged" in heard.text, content
            at_line = name == "record.jsonl" and content is not None
            assert ("at line 2" in heard.text) == at_line
            assert [error_of(found[row][0]) for row in ("ResNet-20", "ResNet-32")] == [8.9, 7.9]
            write_records(made, found)
            assert records.read_bytes() == before
            path.rmdir() if content is None else path.unlink()
            path.write_bytes(good)
    (folder / "evaluations.json").write_text("[]")
    outcome = shown(run_cli)
    assert outcome.code == 0
    assert f"left out: results/runs/{folder.name}/evaluations.json is damaged" in outcome.err
    assert cells(outcome.out, "ResNet-20")[4] == "8.90"
    assert "damaged" in run_cli("status", "experiment=cifar_depth").out
    assert run_cli("explain", "experiment=cifar_depth", "row=ResNet-20").code == 0


def test_what_cannot_be_is_not_written(tmp_path):
    record = Record(tmp_path)
    with pytest.raises(ValueError, match="num_errors is -300: it must be a whole number"):
        record.add_evaluation("single_view", num_errors=-300, num_images=10)
    with pytest.raises(ValueError, match="loss is nan"):
        record.append("train", 1, num_errors=1, num_images=2, loss=float("nan"), lr=1.0)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_of_records_costs_its_experiment_alone(run_cli, made):
    path = made.folder / "records.json"
    for content in (DEEP, b'{"format": 3}', b"\xff", b'{"format": [3], "runs": []}'):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"records\.json is damaged"):
            collect(made)
    outcome = shown(run_cli)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    outcome = run_cli("status", "experiment=cifar_depth")
    assert outcome.code == 0
    assert "left out: results/cifar_depth/records.json is damaged" in outcome.err
    assert path.read_bytes() == content


def test_less_never_replaces_more_without_a_word(run_cli, made):
    """A run's folder that lost a file; and another training of the same run."""
    folder, records = the_run(made), made.folder / "records.json"
    before = shown(run_cli).out
    kept = json.loads(records.read_text())["runs"]
    (folder / "environment.json").unlink()
    lines = (folder / "record.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "record.jsonl").write_bytes(b"".join(lines[2:]))
    outcome = shown(run_cli)
    assert outcome.out == before
    assert "has lost train_error, train_curve, test_curve, sessions; kept as" in outcome.err
    assert json.loads(records.read_text())["runs"] == kept
    end = json.loads(lines[-1])
    lines[-1] = json.dumps({**end, "weights": "0123456789"}).encode() + b"\n"
    (folder / "record.jsonl").write_bytes(b"".join(lines))
    outcome = shown(run_cli)
    assert "records.json has another training of this run (finished, weights sha256 o)" in (
        outcome.err
    )
    assert "replaced by the one in runs/ (finished, weights 01234567)" in outcome.err


def test_two_runs_with_the_same_weights_are_named(run_cli, made):
    path = made.folder / "records.json"
    shown(run_cli)
    content = json.loads(path.read_text())
    for run in content["runs"]:
        run["weights"] = "0123456789abcdef"
    path.write_text(json.dumps(content))
    ids = " and ".join(run["id"] for run in content["runs"])
    said = f"{ids} have the same weights (SHA-256 01234567)"
    outcome = run_cli("verify", "results")
    assert outcome.code == 1
    assert said in outcome.out
    (the_run(made) / "record.jsonl").unlink()
    assert said in shown(run_cli).out


def test_results_of_somebody_else_are_shown_and_not_written(run_cli, made, monkeypatch):
    assert shown(run_cli).code == 0
    before = {path: path.read_bytes() for path in made.results.rglob("*") if path.is_file()}
    real = Path.open

    def refuse(self, mode="r", *args, **kwargs):
        if set(mode) & set("wax"):
            raise OSError(30, "Read-only file system", str(self))
        return real(self, mode, *args, **kwargs)

    with monkeypatch.context() as context:
        context.setattr(Path, "open", refuse)
        for words in (
            ("table", "experiment=cifar_depth"),
            ("explain", "experiment=cifar_depth", "row=ResNet-20"),
            ("status", "experiment=cifar_depth"),
            ("verify", "results"),
            ("compare", "results", "results"),
        ):
            outcome = run_cli(*words)
            assert outcome.code == 0, outcome.err
            assert "ResNet-20" in outcome.out or words[0] == "verify"
            assert outcome.err.count("nothing was written") == (words[0] == "table")
        names = ["cifar_depth"]
        context.setattr("resnet_repro.cli.compose.options", lambda group: names)
        outcome = run_cli("report")
        assert (outcome.code, outcome.out[:15]) == (0, "<!DOCTYPE html>")
        assert "nothing was written: results/report.html: Read-only file system" in outcome.err
    assert before == {p: p.read_bytes() for p in made.results.rglob("*") if p.is_file()}


def test_files_that_help_are_never_believed_blindly(tmp_path, heard):
    """The list of jobs, and what was timed."""
    (tmp_path / "runs/slurm").mkdir(parents=True)
    for content in (DEEP, b'["a"]', b'{"a": 1}', b"\xff"):
        (tmp_path / "runs/slurm/jobs.json").write_bytes(content)
        with pytest.raises(UserError, match=r"jobs.json is damaged .*: delete it"):
            queue.find_jobs(tmp_path)
    entry = b'{"a": {"chip": "x", "images_per_second": %b}}'
    speed = b'{"format": 1, "estimates": {}, "speeds": ' + entry + b"}"
    for content in (DEEP, speed % b"1e999", speed % b"true", speed % b"-1"):
        heard.clear()
        (tmp_path / "calibration.json").write_bytes(content)
        assert not Calibration(tmp_path).speeds
        assert "calibration.json is damaged" in heard.text
    (tmp_path / "calibration.json").write_bytes(speed % b"50.5")
    assert Calibration(tmp_path).speeds


# Files


def test_many_may_write_one_file(tmp_path):
    path = tmp_path / "table.md"
    texts = [str(number) * 20_000 for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda text: files.write_atomically(path, text), texts * 4))
    assert path.read_text() in texts
    assert [each.name for each in tmp_path.iterdir()] == ["table.md"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_process_left_goes_after_an_hour(tmp_path):
    path, others = tmp_path / "table.md", tmp_path / "table.md.others.txt"
    old, new = (files.write_aside(path, "half") for _ in range(2))
    others.touch()
    os.utime(old, (0, 0))
    files.write_atomically(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, others, new])
    checkpoint.save(tmp_path, {"run": "a"})
    left = files.write_aside(tmp_path / "last.pt", b"half")
    checkpoint.save(tmp_path, {"run": "a"})
    assert not left.exists()


def test_unpacking_keeps_what_is_further_and_says_what_it_replaces(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    for results, far in ((there, {"a": 5, "b": 2}), (here, {"a": 2, "b": 5})):
        for name, iteration in far.items():
            folder = results / "runs" / name
            folder.mkdir(parents=True)
            event = {"event": "train", "iteration": iteration}
            (folder / "record.jsonl").write_text(json.dumps(event) + "\n")
            (folder / "saved").write_text(f"{iteration}\n")
        (results / "x").mkdir()
        (results / "x/records.json").write_text(str(far))
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as packed:
        packed.add(there, ".")
    numbers = [sys.executable, ROOT / "scripts/numbers", "--results", here]
    done = subprocess.run(
        [*numbers, "--unpack", tmp_path / "packed.tar.gz"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert [(here / f"runs/{name}/saved").read_text() for name in "ab"] == ["5\n", "5\n"]
    assert f"overwritten: {here / 'runs/a/record.jsonl'}" in done.stdout
    assert f"kept: {here / 'runs/b'}, which is further" in done.stdout
    assert f"kept: {here / 'x/records.json'}, which differs" in done.stdout
    assert "'b': 5" in (here / "x/records.json").read_text()


# Text of others


def test_hidden_characters_are_written_out():
    assert visible(HOSTILE) == "a\\x1b[31m\\u202eb\nc"
    assert one_line(HOSTILE) == "a\\x1b[31m\\u202eb c"
    assert one_line("a\r\n\u2028\\input{x}\t\ud800é±") == "a \\input{x} \\ud800é±"


EXPERIMENT = """
# @package _global_
defaults:
  - override /model: cifar_resnet
  - override /data: cifar10
  - override /recipe: cifar_64k
paper:
  cite: X
  where: "a\\n\\\\input{where}"
  title: "T\\n\\\\input{title} \\e[31m<script>x</script>"
rows:
  - {name: "=cmd|' /C calc'!A1", set: {model.depth: 8}}
  - {name: "-0.5", set: {model.depth: 14}}
  - {name: "\\n@SUM(1) \\u202e", set: {model.depth: 20}}
  - {name: "[text](http://x) ![i](y) <img src=x> \\e]0;t\\a | p", set: {model.depth: 26}}
  - {name: "$\\\\frac$ \\x1b", set: {model.depth: 32}}
claims:
  - {text: "c\\n\\\\input{claim}", falling: ["=cmd|' /C calc'!A1", "-0.5"]}
"""


def test_text_of_an_experiment_is_escaped_for_each_format(run_cli, tmp_path, monkeypatch):
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "hostile.yaml").write_text(EXPERIMENT)
    words = ("--config-dir", str(tmp_path / "mine"), "experiment=hostile")
    made = {}
    for kind in ("md", "csv", "tex", "json"):
        outcome = run_cli("table", *words, f"format={kind}")
        assert outcome.code == 0, outcome.err
        made[kind] = outcome.out
    for text in [*made.values(), run_cli("explain", *words).out, run_cli("status", *words).out]:
        assert not set(text) & set("\x1b\x07\u202e")
    comments, tabular = made["tex"].split("\\begin{tabular}")
    assert all(line.startswith("%") for line in comments.splitlines())
    assert comments.count("\\input") == 3
    assert "\\input" not in tabular
    names = [row["network"] for row in csv.DictReader(made["csv"].splitlines())]
    assert names[:3] == ["'=cmd|' /C calc'!A1", "-0.5", "' @SUM(1) \\u202e"]
    assert "T \\input{title} \\x1b[31m\\<script>x\\</script>" in made["md"]
    assert r"[text]\(http://x) !\[i]\(y) \<img src=x> \x1b]0;t\x07 \| p" in made["md"]
    assert len({line.replace(r"\|", "").count("|") for line in made["md"].splitlines()
                if line.startswith("|")}) == 1  # fmt: skip
    assert json.loads(made["json"])["lines"][2]["name"] == "\n@SUM(1) \u202e"
    error = run_cli("table", *words, "row=\x1b[31mx").err
    assert "\x1b" not in error
    assert "row=\\x1b[31mx" in error


def test_text_of_a_record_is_escaped_on_the_page_and_in_pictures(run_cli, made, monkeypatch):
    reason = f"<script>alert(1)</script> {HOSTILE} `</code><b>`"
    found = results_of(made, ResNet_20=[8.9], ResNet_32=[7.9])
    bad = replace(found["ResNet-20"][0], state="diverged", reason=reason, weights=HOSTILE)
    session = {**SESSION, "cpu": HOSTILE, "command": "x '`</code><b>`\x1b'"}
    good = replace(found["ResNet-32"][0], sessions=[session])
    write_records(made, {"ResNet-20": [bad], "ResNet-32": [good]})
    (the_run(made) / "record.jsonl").unlink()
    monkeypatch.setattr("resnet_repro.cli.compose.options", lambda group: ["cifar_depth"])
    assert run_cli("report").code == 0
    text = (made.results / "report.html").read_text()
    assert not set(text) & set("\x1b\u202e")
    assert "<script" not in text
    assert "<b>" not in text
    assert "a\\x1b[31m\\u202eb" in text
    monkeypatch.setattr(plots, "PICTURES", PICTURES)
    titled = replace(made, paper=replace(made.paper, title=HOSTILE))
    plots.write_pictures(titled, build_table(titled, {}), {HOSTILE: [good]})
    drawn = (made.folder / "curves.svg").read_text()
    assert "\x1b" not in drawn
    assert drawn.count("a\\x1b[31m") == 2  # title and legend


# Pictures


def test_a_picture_that_fails_costs_a_line(made, monkeypatch, heard):
    def fail(*_):
        raise RuntimeError("Failed to process string with tex\nlatex could not be found")

    monkeypatch.setattr(plots, "PICTURES", {**PICTURES, "differences": fail})
    _, pictures = write_report(made)
    assert "the picture differences is left out (RuntimeError: Failed to process string" in (
        heard.text
    )
    assert (made.folder / "table.md").is_file()
    assert {path.stem for path in pictures} == {"curves", "depth", "cost"}


def test_pictures_depend_on_no_settings_of_the_users(made, tmp_path, monkeypatch):
    """Bytes are the same under a notebook's backend and settings that cannot be read or drawn."""
    monkeypatch.setattr(plots, "PICTURES", PICTURES)
    write_report(made)
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.family: none\nno.key: 1\n")
    (tmp_path / "latin").write_bytes(b"font.family: \xe9\n")
    strange = {"MPLBACKEND": "nowhere", "MATPLOTLIBRC": "latin", "MPLCONFIGDIR": "/dev/null/x"}
    done = subprocess.run(
        [sys.executable, "-m", "resnet_repro", "table", "experiment=cifar_depth"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **strange},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("\nWritten:")
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before
    with mpl.rc_context({"text.usetex": True, "font.size": 30}):
        write_report(made)
        with our_style():
            assert not mpl.rcParams["text.usetex"]
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before


# Which code


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Pretend that the package is in a folder; return that."""
    top = tmp_path / "checkout"
    (top / "resnet_repro").mkdir(parents=True)
    package = SimpleNamespace(__file__=str(top / "resnet_repro/__init__.py"), __version__="0.1.0")
    monkeypatch.setattr(environment, "resnet_repro", package)
    return top


def test_a_checkout_of_another_user_has_a_commit(code, monkeypatch):
    git = ["git", "-C", str(code), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(code)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    if os.getuid() == 0:
        for path in (code, code / ".git"):
            os.chown(path, 12345, 12345)
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook
    assert environment._git() == {"commit": commit.stdout.strip(), "dirty": False}
    monkeypatch.setenv("PATH", "/nowhere")
    assert environment._git() == {"no_commit": "git is not installed"}


def test_an_installed_package_says_its_commit_or_why_not(code, monkeypatch):
    told = {"vcs_info": {"vcs": "git", "commit_id": "0123abcd"}}
    for text, place, expected in (
        (json.dumps(told), code, {"commit": "0123abcd", "dirty": False}),
        (json.dumps(told), code.parent, {"no_commit": "not a checkout"}),
        ('{"dir_info": {"editable": true}}', code, {"no_commit": "not a checkout"}),
        ("[", code, {"no_commit": "not a checkout"}),
        (None, code, {"no_commit": "not a checkout"}),
    ):
        found = SimpleNamespace(
            read_text=lambda name, text=text: text, locate_file=lambda name, p=place: p / name
        )
        monkeypatch.setattr(environment, "distribution", lambda name, found=found: found)
        assert environment._git() == expected
