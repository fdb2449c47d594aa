"""What is printed, where it can be shown or not."""

import io
import os
import subprocess
import sys

from resnet_repro.cli import main as cli
from resnet_repro.cli.output import reserve_stdout
from tests.support.runs import SMALL


def test_what_a_stream_cannot_show_is_shown_in_ascii(run_cli, monkeypatch, tmp_path):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert run_cli("table", *SMALL).code == 0
    print("Schärfe ≤ 日", flush=True)
    text = stream.buffer.getvalue().decode("ascii")
    assert "mean +- standard deviation" in text
    assert text.endswith("Scharfe <= ?\n")


def test_a_deleted_working_directory_is_said(monkeypatch, tmp_path, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "argv", ["resnet-repro", "list"])
    assert cli.main() == 1
    assert "the working directory cannot be used" in capsys.readouterr().err


def test_an_error_leaves_stdout_empty(run_cli):
    outcome = run_cli("plan", "experiment=quickstart,cifar_depth", "row=ResNet-8", "format=json")
    assert (outcome.code, outcome.out) == (1, "")
    assert "cifar_depth has no row ResNet-8: did you mean" in outcome.err


def test_what_libraries_and_other_processes_print_goes_to_stderr(capfd):
    with reserve_stdout("json"):
        print("by this process")
        subprocess.run([sys.executable, "-c", "print('by another')"], check=True)
        os.write(1, b"by a library\n")
    print("the answer")
    out, err = capfd.readouterr()
    assert out == "the answer\n"
    assert sorted(err.splitlines()) == ["by a library", "by another", "by this process"]
