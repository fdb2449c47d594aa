"""`scripts/publish`: what it takes from results, and what it says of the rest."""

import json
import re
import runpy
import shutil
import sys

import pytest

from resnet_repro.records.archive import read_archive
from resnet_repro.report.pictures import registry as plots
from resnet_repro.report.publish import without_paths
from tests.support.paths import PUBLISHED, ROOT, ROOTS, contents


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


@pytest.mark.pictures
def test_publish_adds_seeds_and_says_what_it_does_not_take(
    run_cli, tmp_path, write, publish, monkeypatch
):
    """A seed that another machine published stays, unless it is to be replaced."""
    monkeypatch.setattr(plots, "PICTURES", {"curves": plots.PICTURES["curves"]})
    written = write("mine", ResNet_20=[9.1], ResNet_110=[6.4, 6.6])
    path = write("published", ResNet_20=[8.3], ResNet_110=[6.4])
    content = json.loads(written.read_text())
    session = content["runs"][1]["sessions"][0]
    session["command"] = "resnet-repro --config-dir /home/me/mine weights=~/x.pth data.root=/data"
    content["runs"][2]["reason"] = "it lay in '/home/me/a folder'"
    written.write_text(json.dumps(content))
    before = {id: each.evaluations for id, each in read_archive(path).results.items()}

    said = publish("cifar_depth")
    assert "kept: ResNet-20-seed0-261958b2, published with 8.30 % by single_view" in said
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
        (["cifar_depth"], "nothing is recorded in results/cifar_depth; --changed includes"),
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


def test_a_published_table_asks_for_the_experiments_seeds(tmp_path, write, publish):
    """Whichever seeds the commands trained: one machine often trains some of them."""
    write("mine", "seeds=[7,8]", ResNet_110=[6.4, 6.6])
    for words in (["cifar_depth"], []):
        publish(*words)
        assert read_archive(tmp_path / "results/published/cifar_depth/records.json").changes == ()
        table = (tmp_path / "results/published/cifar_depth/table.md").read_text()
        (row,) = (line for line in table.splitlines() if line.startswith("| ResNet-110"))
        assert "2/5" in row
        write("published", "seeds=[7,8]", ResNet_110=[6.4, 6.6])


def test_publish_adds_the_measurements_of_another_machine(tmp_path, publish):
    mine, published = (tmp_path / root / "benchmarks" for root in ROOTS.values())
    for folder in (mine, published):
        shutil.copytree(PUBLISHED / "benchmarks", folder)
    assert publish("benchmarks") == "nothing new\n"
    for path in mine.glob("*.json"):
        path.write_text(re.sub(r'"cpu": "[^"]*"', '"cpu": "another"', path.read_text()))
    (mine / "compile-cpu.json").rename(mine / "compile-another.json")
    before = json.loads((published / "training-cpu.json").read_text())["measurements"]
    one_machine = {each["experiment"] for each in before}  # "another" replaces several of "mine"
    said = publish("benchmarks")
    assert "added: training-cpu.json: cifar_depth" in said
    assert "added: compile-another.json" in said
    assert "kept: photos.json" in said
    now = json.loads((published / "training-cpu.json").read_text())["measurements"]
    assert now[: len(before)] == before
    assert len(now) == len(before) + len(one_machine)
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
