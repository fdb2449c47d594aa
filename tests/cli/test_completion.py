"""Completion in a shell."""

import os
import subprocess
import sys

import pytest

from tests.support.experiments import TABLE
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pl", ["plan", "plugins="]),
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
        ("compare mine=mi", ["mine=mine/"]),
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
