"""Which code a run was trained with."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest

from resnet_repro.engine import environment


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
