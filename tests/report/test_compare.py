"""`compare`: two folders of results."""

import os
import re
import shutil

import pytest

from tests.support.paths import PUBLISHED, copy_published
from tests.support.runs import SMALL


def test_compare_tells_the_same_from_another(trained, run_cli, tmp_path):
    """The same bits again; another precision is named, and its two seeds judged."""
    outcome = run_cli("compare", str(trained), str(trained))
    assert outcome.code == 0
    assert outcome.out.count("| identical |") == 2
    assert run_cli(*SMALL, "seeds=[0,1]", "recipe.momentum=0.5").code == 0
    (other,) = {*trained.parent.glob("changed-*")} - {trained}
    outcome = run_cli("compare", str(trained), str(other))
    assert outcome.code == 0
    assert "- recipe.momentum: 0.9 and 0.5" in outcome.out
    assert "plain-8: in the first only" in outcome.out
    row = next(line for line in outcome.out.splitlines() if line.startswith("| ResNet-8"))
    assert re.search(r"(undecided|higher|lower|same) \| +0 of 2", row)


def test_compare_pairs_the_experiments_of_two_folders(trained, run_cli, tmp_path):
    shutil.copytree(tmp_path / "results", tmp_path / "other's results")
    outcome = run_cli("compare", "results", "other's results")
    assert outcome.code == 0
    assert outcome.out.count("identical") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "results"), "compare needs two folders of results"),
        (("compare", "results", "nowhere"), "nowhere: there is no records.json in it"),
        (("verify", "nowhere"), "nowhere: there is no records.json in it"),
        (("verify", "torn"), "torn/records.json is damaged"),
        (("verify", "foreign"), "is of my_table, which is no experiment here"),
    ],
)
def test_what_cannot_be_read_is_named(run_cli, tmp_path, words, message):
    copy_published(tmp_path / "results")
    for name in ("torn", "foreign"):
        shutil.copytree(PUBLISHED / "quickstart", tmp_path / name)
    path = tmp_path / "torn/records.json"
    os.truncate(path, path.stat().st_size // 2)
    path = tmp_path / "foreign/records.json"
    path.write_text(path.read_text().replace('"quickstart"', '"my_table"'))
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert message in outcome.err
    assert "Traceback" not in outcome.err
