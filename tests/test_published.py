"""What a user runs and what the project publishes: shown side by side, never mixed."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PUBLISHED, ROOT, SMALL, copy_published
from test_plan import plan
from test_report import results_of

from resnet_repro.records.archive import read_archive
from resnet_repro.records.results import write_records
from resnet_repro.report.publish import without_paths
from resnet_repro.report.write import write_report

ROOTS = {"mine": "results", "published": "results/published"}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def write(tmp_path):
    """Write records of cifar_depth, mine or published."""

    def call(whose, *words, **errors):
        made = plan("cifar_depth", f"results={tmp_path / ROOTS[whose]}", *words)
        return write_records(made, results_of(made, **errors))

    return call


@pytest.fixture
def publish(tmp_path, monkeypatch, capsys):
    """Call scripts/publish in this process; return what it prints."""

    def call(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["publish", *words])
        capsys.readouterr()
        runpy.run_path(str(ROOT / "scripts/publish"), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_published_results_are_shown_and_never_counted(run_cli, tmp_path, write):
    write("published", ResNet_20=[8.3], ResNet_110=[6.4, 6.6])
    write("mine", ResNet_20=[9.1])
    before = contents(tmp_path / "results/published")
    said = "Published in results/published/cifar_depth: ResNet-20 8.30 (1 seed), "
    said += "ResNet-110 6.50 ± 0.14 (2 seeds)"
    status = run_cli("status", "experiment=cifar_depth")
    assert said in status.err
    table = run_cli("table", "experiment=cifar_depth")
    assert said in table.err
    assert re.search(r"ResNet-20 .* 9.10 .* 1/1", table.out)
    assert re.search(r"ResNet-110 .* - .* 0/5", table.out)
    (line,) = (line for line in run_cli("list").out.splitlines() if "cifar_depth" in line)
    assert line.endswith("|     1/10 | 2 rows, 6.50 to 8.30 |")
    compared = run_cli("compare", "results", "results/published")
    assert "9.10 (1) | 8.30 (1)" in compared.out
    assert "ResNet-110: in the second only" in compared.out
    # A changed schedule is another table, of which nothing is published.
    assert not run_cli("status", "experiment=cifar_depth", "recipe.lr=0.2").err
    assert contents(tmp_path / "results/published") == before


def test_what_is_published_is_read_as_results_are_and_not_written(run_cli, tmp_path):
    copy_published(tmp_path / "results/published")
    root = tmp_path / "results/published"
    (root / "quickstart/curves.png").write_bytes(b"as another processor draws it")
    before = contents(root)
    for verb, word in (("table", "| ResNet-32 "), ("status", "records.json"), ("explain", "SHA")):
        outcome = run_cli(verb, "experiment=quickstart", "results=results/published")
        assert (outcome.code, word in outcome.out) == (0, True), outcome.err
    outcome = run_cli("report")
    assert (outcome.code, outcome.out) == (1, "")
    assert "`report results=results/published` shows what is published" in outcome.err
    for words in (SMALL, ("submit", *SMALL), ("evaluate", *SMALL), ("bench",), ("import",)):
        outcome = run_cli(*words, "results=results/published/")
        assert outcome.code == 1
        assert "is for published results" in outcome.err
    assert contents(root) == before


def test_published_records_that_are_damaged_cost_a_line(run_cli, tmp_path, write):
    path = write("published", ResNet_20=[8.3])
    path.write_text("{")
    outcome = run_cli("status", "experiment=cifar_depth")
    assert outcome.code == 0
    assert "not shown: results/published/cifar_depth/records.json is damaged" in outcome.err


def test_an_experiment_does_not_take_the_place_of_published_ones(run_cli, tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/published.yaml").write_text("# @package _global_\n")
    outcome = run_cli("plan", "--config-dir", "mine", "experiment=published")
    assert outcome.code == 1
    assert "results/published has another use; rename the file" in outcome.err


def test_publish_adds_seeds_and_says_what_it_does_not_take(run_cli, tmp_path, write, publish):
    """A seed that another machine published stays, unless it is to be replaced."""
    written = write("mine", ResNet_20=[9.1], ResNet_110=[6.4, 6.6])
    path = write("published", ResNet_20=[8.3], ResNet_110=[6.4])
    content = json.loads(written.read_text())
    session = content["runs"][1]["sessions"][0]
    session["command"] = "resnet-repro --config-dir /home/me/mine weights=~/x.pth data.root=/data"
    content["runs"][2]["reason"] = "it lay in '/home/me/a folder'"
    written.write_text(json.dumps(content))
    before = {id: each.evaluations for id, each in read_archive(path).results.items()}

    said = publish("cifar_depth")
    assert "kept: ResNet-20-seed0-261958b2, published as 8.30 % by single_view" in said
    assert "added: ResNet-110-seed1-cd061884" in said
    assert "ResNet-110-seed0" not in said  # it is the same
    now = read_archive(path).results
    assert {id: now[id].evaluations for id in before} == before
    assert "/home" not in path.read_text()
    assert "~" not in path.read_text()
    assert run_cli("verify", "results/published").code == 0
    files = contents(path.parent)
    assert {"table.md", "curves.svg", "records.json"} < {each.name for each in files}

    assert "added" not in publish("cifar_depth")
    assert contents(path.parent) == files
    assert "replaced: ResNet-20-seed0-261958b2, 8.30 %" in publish("cifar_depth", "--replace")
    assert run_cli("verify", "results/published").code == 0
    assert "9.10" in (path.parent / "table.md").read_text()
    assert contents(path.parent).keys() == files.keys()


def test_publish_takes_from_two_records_of_one_training_what_each_has(write, publish):
    """As when the run's folder, and with it the sessions, are on one machine only."""
    mine, path = write("mine", ResNet_20=[8.3]), write("published", ResNet_20=[8.3])
    more = json.loads(mine.read_text())
    more["runs"][0] |= {"sessions": [], "train_error": None}
    more["runs"][0]["evaluations"]["again"] = {"num_errors": 1, "num_images": 10}
    mine.write_text(json.dumps(more))
    assert "completed: ResNet-20-seed0-261958b2" in publish("cifar_depth")
    (result,) = read_archive(path).results.values()
    assert (len(result.sessions), result.train_error) == (1, 1.5)
    assert result.evaluations.keys() == {"single_view", "again"}


def test_publish_takes_changed_settings_where_it_is_asked(tmp_path, write, publish):
    changed = write("mine", "recipe.lr=0.2", ResNet_20=[9.1]).relative_to(tmp_path / "results")
    for words, message in (
        (["cifar_depth"], "nothing is recorded in results/cifar_depth; --changed publishes"),
        (["nowhere"], "nothing is recorded in results/nowhere"),
    ):
        with pytest.raises(SystemExit, match=message):
            publish(*words)
    assert "added: ResNet-20-seed0" in publish("cifar_depth", "--changed")
    assert (tmp_path / "results/published" / changed).is_file()


def test_publish_alone_renders_again_and_adds_nothing(run_cli, tmp_path, write, publish):
    write("mine", ResNet_20=[9.1])
    path = write("published", ResNet_20=[8.3])
    records = path.read_bytes()
    assert "rendered: results/published/cifar_depth" in publish()
    assert path.read_bytes() == records
    assert run_cli("verify", "results/published").code == 0


def test_publish_adds_the_measurements_of_another_machine(tmp_path, publish):
    mine, published = (tmp_path / root / "benchmarks" for root in ROOTS.values())
    for folder in (mine, published):
        shutil.copytree(PUBLISHED / "benchmarks", folder)
    assert publish("benchmarks") == "nothing new\n"
    for path in mine.glob("*.json"):
        path.write_text(re.sub(r'"cpu": "[^"]*"', '"cpu": "another"', path.read_text()))
    (mine / "compile-cpu.json").rename(mine / "compile-another.json")
    before = json.loads((published / "training-cpu.json").read_text())["measurements"]
    said = publish("benchmarks")
    assert "added: training-cpu.json: cifar_depth" in said
    assert "added: compile-another.json" in said
    assert "kept: photos.json" in said
    now = json.loads((published / "training-cpu.json").read_text())["measurements"]
    assert now[: len(before)] == before
    assert len(now) == 2 * len(before)
    assert "replaced: photos.json" in publish("benchmarks", "--replace")
    assert (published / "photos.json").read_text() == (mine / "photos.json").read_text()


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("torn at /home/me/x.py, line 3", "torn at PATH, line 3"),
        ("--config-dir=~/mine 'a=~me/b'", "--config-dir=PATH 'a=PATH'"),
        ("ten_crop 224/256, 23.85 / 7.13 at 9 images/s", None),
        ("./out ../in results/runs https://arxiv.org/abs/1512.03385", None),
    ],
)
def test_paths_of_the_machine_are_left_out(text, published):
    assert without_paths({"a": [text]}) == {"a": [published or text]}


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
    write_report(made)
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


def test_links_of_the_readmes_lead_somewhere():
    for readme in (ROOT / "README.md", PUBLISHED / "README.md"):
        links = re.findall(r"\]\(([^):#]+)\)", readme.read_text())
        assert links
        assert [link for link in links if not (readme.parent / link).exists()] == []


def test_no_test_reads_what_a_user_runs():
    """The folders in which commands of the README write."""
    texts = {path.name: path.read_text() for path in Path(__file__).parent.glob("*.py")}
    reads = re.compile(r"ROOT\b[^\n]{0,5}results(?!/published)")
    assert [name for name, text in texts.items() if reads.search(text)] == []
