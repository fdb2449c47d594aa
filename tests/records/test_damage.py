"""Damaged and hostile files of results: each costs what is in it, and no more."""

import json
import re
import shutil
from pathlib import Path

import pytest

from resnet_repro.cost.calibration import Calibration
from resnet_repro.errors import UserError
from resnet_repro.launch.slurm import queue
from resnet_repro.records import archive
from resnet_repro.records.results import load_results, write_records
from tests.support.results import cells, error_of, the_run

pytestmark = pytest.mark.usefixtures("heard")

DEEP = b"[" * 100_000


def shown(run_cli, *words):
    return run_cli("table", "experiment=cifar_depth", "format=md", *words)


def test_a_hostile_file_of_a_run_costs_that_run_alone(run_cli, made, heard):
    """What `records.json` has of it stays; nothing is a traceback, and nothing stops the table."""
    folder, records = the_run(made), made.folder / "records.json"
    write_records(made, load_results(made))
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
            archive._warned.clear()
            found = load_results(made)
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


def test_the_end_of_a_long_record_tells_how_far_its_run_is(run_cli, made):
    """Of thousands of runs nobody reads all lines; the table does, and names a damaged one."""
    path = the_run(made) / "record.jsonl"
    *lines, end = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"[]\n", lines[1] * 1000, end]))
    assert "| done " in run_cli("status", "experiment=cifar_depth", "row=ResNet-20").out
    assert "is damaged at line 2" in shown(run_cli).err
    path.write_bytes(b"".join([*lines, end[:-9], b"\n"]))
    assert "damaged" in run_cli("status", "experiment=cifar_depth", "row=ResNet-20").out


def test_a_damaged_file_of_records_costs_its_experiment_alone(run_cli, made):
    path = made.folder / "records.json"
    for content in (DEEP, b'{"format": 3}', b"\xff", b'{"format": [3], "runs": []}'):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"records\.json is damaged"):
            load_results(made)
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


def test_a_run_that_somebody_else_lets_nobody_read_costs_that_run_alone(run_cli, made, monkeypatch):
    folder, real = the_run(made), Path.open

    def refuse(self, *args, **kwargs):
        if self.parent.name == folder.name:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    shown = run_cli("status", "experiment=cifar_depth")
    assert shown.code == 0, shown.err
    assert re.search(rf"{folder.name} +\| damaged", shown.out)


def test_results_of_somebody_else_are_shown_and_not_written(run_cli, made, monkeypatch):
    assert shown(run_cli).code == 0
    shutil.copytree(made.folder, made.results.parent / "copy/cifar_depth")
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
            ("compare", "results", "copy"),
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
