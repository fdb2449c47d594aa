"""What the repository publishes: its tables are its records', and no command changes it."""

import re
import shutil
import subprocess

import pytest

from resnet_repro.records.results import write_records
from resnet_repro.report.write import write_outputs
from tests.support.paths import PUBLISHED, ROOT, copy_published
from tests.support.plans import plan
from tests.support.results import results_of
from tests.support.runs import SMALL


def test_commands_leave_a_checkout_clean(run_cli, tmp_path, monkeypatch):
    """What runs, tables, pages, estimates and measurements write is ignored by git."""
    if not shutil.which("git") or not (ROOT / ".gitignore").is_file():
        pytest.skip("needs git and the checkout's .gitignore")

    def git(*words):
        command = ["git", "-c", "core.excludesFile=/dev/null", *words]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    shutil.copy(ROOT / ".gitignore", tmp_path)
    copy_published(tmp_path / "results/published")
    git("init", "--quiet")
    git("add", "--all")
    assert git("ls-files").count("records.json") == len(list(PUBLISHED.rglob("records.json")))
    tracked = git("status", "--porcelain")
    (tmp_path / "data").symlink_to(tmp_path)
    assert run_cli(*SMALL).code == 0
    for words in (
        ("report", "results=results/published"),
        ("table", "experiment=quickstart", "results=results/published"),
    ):
        assert run_cli(*words).code == 0
    assert (tmp_path / "results/published/report.html").is_file()
    made = plan("quickstart", f"results={tmp_path / 'results'}")
    write_records(made, results_of(made, ResNet_8=[16.0]))
    write_outputs(made)
    for name in (
        "benchmarks/training-cpu.md",
        "calibration.json",
        "imported/x/evaluations.json",
        "published/calibration.json",
        "report.html",
    ):
        path = tmp_path / "results" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("")
    assert git("status", "--porcelain", "--untracked-files=all") == tracked


def test_no_test_reads_what_a_user_runs():
    """The folders in which commands of the README write."""
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    reads = re.compile(r"ROOT\b[^\n]{0,5}results(?!/published)")
    assert [str(path) for path, text in texts.items() if reads.search(text)] == []


def test_published_tables_are_what_their_records_give(run_cli):
    outcome = run_cli("verify", str(PUBLISHED))
    assert outcome.code == 0, outcome.out
    assert "quickstart: matches its records" in outcome.out
