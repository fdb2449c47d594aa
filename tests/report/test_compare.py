"""`compare`: results of several folders, side by side."""

import csv
import io
import json
import os
import shutil
import tarfile
import zipfile

import pytest

from resnet_repro.cli import compose
from resnet_repro.records import packed
from tests.support.paths import PUBLISHED, contents, copy_published
from tests.support.results import cells, write_table


@pytest.fixture
def record(tmp_path):
    """Write records of quickstart in a folder of results, of trainings that no other has."""

    def call(root, *words, **errors):
        path = write_table(tmp_path / root, "quickstart", *words, **errors)
        path.write_text(path.read_text().replace("sha256 of", f"sha256 in {root} of"))
        return path

    return call


@pytest.fixture
def three(record):
    """Write three results; ResNet-8 is in the first and the last."""
    record("a", plain_8=[16.0, 17.0], ResNet_8=[10.0])
    record("b", plain_8=[17.0, 18.5])
    record("c", plain_8=[12.0, 12.5, 13.0], ResNet_8=[10.5])


@pytest.fixture
def answered(run_cli):
    """Return what a comparison is as JSON."""

    def call(*words):
        outcome = run_cli("compare", *words, "format=json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return call


def test_compare_tells_the_same_from_another(record, run_cli, tmp_path):
    """The same bits again; another momentum is named, and its two seeds judged."""
    errors = {"plain_8": [16.0, 17.0], "ResNet_8": [10.0, 10.2], "ResNet_32": [7.0, 9.0]}
    ours = record("results", **errors).parent
    shutil.copytree(ours, tmp_path / "copy")
    outcome = run_cli("compare", str(ours), "copy")
    assert outcome.code == 0
    assert outcome.out.count("| identical |") == 3
    words = ("row=[ResNet-8,ResNet-32]", "seeds=[0,1]", "recipe.momentum=0.5")
    other = record("other", *words, ResNet_8=[14.0, 14.2], ResNet_32=[7.5, 9.0]).parent
    outcome = run_cli("compare", f"a={ours}", f"b={other}")
    assert outcome.code == 0
    assert cells(outcome.out, "recipe.momentum") == ["recipe.momentum", "0.9", "0.5"]
    assert cells(outcome.out, "plain-8")[2:] == ["-", "-", "-", "-"]
    assert cells(outcome.out, "ResNet-8")[4:] == ["higher", "0 of 2"]
    assert cells(outcome.out, "ResNet-32")[4:] == ["undecided", "0 of 2"]
    outcome = run_cli("compare", f"b={other}", f"a={ours}")
    assert cells(outcome.out, "ResNet-8")[4] == "lower"


def test_two_folders_have_the_interval_of_95_percent(three, run_cli):
    """Variances 0.5 and 1.125 of two runs each: 0.9014 points; t is 4.303 with two degrees."""
    row = cells(run_cli("compare", "a", "b").out, "plain-8")
    assert row[1:3] == ["16.50 ± 0.71 (2)", "17.75 ± 1.06 (2)"]
    assert row[3:] == ["+1.25 [-2.63, +5.13]", "undecided", "0 of 2"]


def test_three_folders_have_intervals_corrected_for_two_comparisons(three, run_cli, answered):
    """The pooled variance is (0.5 + 1.125 + 2 * 0.25) / 4; t of 0.9875 is 3.495, of 0.975 2.776."""
    outcome = run_cli("compare", "a", "b", "third=c")
    header = next(line for line in outcome.out.splitlines() if line.startswith("|"))
    names = ["row", "a", "b", "third", "b - a", "b: verdict", "third - a", "third: verdict"]
    assert [each.strip() for each in header.strip("|").split("|")] == [*names, "same weights"]
    assert cells(outcome.out, "plain-8")[4:] == [
        *("+1.25 [-1.30, +3.80]", "undecided"),
        *("-4.00 [-6.33, -1.67]", "lower", "0 of 2, 0 of 2"),
    ]
    # One comparison in this row: 0.5 ± 2.776 * 0.7289 * sqrt(2).
    assert cells(outcome.out, "ResNet-8")[2:] == [
        *("-", "10.50 (1)", "-", "-", "+0.50 [-2.36, +3.36]", "undecided", "-, 0 of 1"),
    ]
    assert "Bonferroni" in outcome.out
    assert "Bonferroni" not in run_cli("compare", "a", "b").out

    (found,) = answered("a", "b", "third=c")
    assert [each["name"] for each in found["folders"]] == ["a", "b", "third"]
    plain, residual = found["rows"]
    assert (plain["confidence"], residual["confidence"]) == (pytest.approx(0.975), 0.95)
    first, second, third = plain["sides"]
    assert (first["difference"], first["verdict"]) == (None, None)
    assert third["interval"]["low"] == pytest.approx(-4 - 3.4954 * 0.66536, abs=1e-4)
    assert (second["seeds"], third["mean"], third["std"]) == ([0, 1], 12.5, 0.5)
    assert (residual["sides"][1]["seeds"], residual["sides"][1]["mean"]) == ([], None)


def test_the_formats_say_the_same(three, run_cli):
    words = ("compare", "a", "b_|<x>=b", "c")
    lines = [*csv.DictReader(io.StringIO(run_cli(*words, "format=csv").out))]
    assert [(each["row"], each["folder"]) for each in lines] == [
        (row, name) for row in ("plain-8", "ResNet-8") for name in ("a", "b_|<x>", "c")
    ]
    assert float(lines[2]["interval_high"]) == pytest.approx(-4 + 3.4954 * 0.66536, abs=1e-4)
    assert (lines[2]["verdict"], lines[2]["seeds"], lines[4]["mean"]) == ("lower", "0 1 2", "")
    tex = run_cli(*words, "format=tex").out
    assert r"row & a & b\_$|$$<$x$>$ & c & " in tex
    assert r"plain-8 & 16.50 $\pm$ 0.71 (2) & 17.75 $\pm$ 1.06 (2) & " in tex
    assert r"-4.00 {[}-6.33, -1.67{]} & lower & " in tex
    assert r" b_\|\<x> |" in run_cli(*words).out


def test_csv_has_the_settings_and_versions_that_differ(run_cli, tmp_path):
    write_table(tmp_path / "a", "quickstart", plain_8=[16.0, 17.0])
    path = write_table(tmp_path / "b", "quickstart", "recipe.momentum=0.5", plain_8=[16.0, 18.0])
    path.write_text(path.read_text().replace('"torch": "', '"torch": "another '))
    text = run_cli("compare", "a", f"b={path.parent}", "format=csv").out
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["setting recipe.momentum"], second["setting recipe.momentum"]) == ("0.9", "0.5")
    assert second["environment torch"] == f"another {first['environment torch']}"


def test_the_same_weights_tested_differently_are_not_identical(run_cli, tmp_path):
    for root, errors in (("a", [16.0, 17.0]), ("b", [16.0, 18.0])):
        write_table(tmp_path / root, "quickstart", plain_8=errors)
    assert cells(run_cli("compare", "a", "b").out, "plain-8")[4:] == ["undecided", "2 of 2"]


def test_tables_are_paired_by_what_their_records_say(record, answered, tmp_path):
    """Two folders have the changed table, one another."""
    words = ("recipe.momentum=0.5", "seeds=[0,1]")
    for root in ("a", "b", "c"):
        record(root, plain_8=[16.0, 17.0])
    former = record("a", *words, plain_8=[18.0, 19.0]).parent
    record("b", *words, plain_8=[18.5, 19.0])
    write_table(tmp_path / "b", "cifar_depth", ResNet_20=[8.9])
    found = answered("a", "b", "c")
    tables = [[each["table"] for each in one["folders"]] for one in found]
    changed = "quickstart/changed-recipe.momentum=0.5"
    assert tables == [["quickstart"] * 3, [changed, changed, None], [None, "cifar_depth", None]]
    assert [each["seeds"] for each in found[1]["rows"][0]["sides"]] == [[0, 1], [0, 1], []]
    assert not found[1]["settings"]
    # Named by themselves, tables of different settings are compared.
    (found,) = answered("a/quickstart", "c/quickstart/records.json", f"momentum={former}")
    assert [each["name"] for each in found["folders"]] == [
        *("a/quickstart", "c/quickstart", "momentum"),
    ]
    (differs,) = found["settings"]
    assert (differs["setting"], differs["all_rows"]) == ("recipe.momentum", True)
    assert differs["values"] == {"a/quickstart": 0.9, "c/quickstart": 0.9, "momentum": 0.5}


def test_what_differs_has_a_value_for_each_folder(three, record, run_cli, answered, tmp_path):
    path = tmp_path / "b/quickstart/records.json"
    path.write_text(path.read_text().replace('"torch": "2.15.0"', '"torch": "2.14.0"'))
    outcome = run_cli("compare", "a", "b", "c")
    assert cells(outcome.out, "torch") == ["torch", "2.15.0", "2.14.0", "2.15.0"]
    (found,) = answered("a", "b", "c")
    assert found["environment"] == [
        {"fact": "torch", "values": {"a": ["2.15.0"], "b": ["2.14.0"], "c": ["2.15.0"]}}
    ]
    assert "% torch: a 2.15.0; b 2.14.0; c 2.15.0" in run_cli(
        *("compare", "a", "b", "c", "format=tex")
    ).out.splitlines()  # fmt: skip


def test_tar_and_zip_files_are_folders_too(three, answered, tmp_path):
    """Published results inside of them are left out, links are not followed, nothing is written."""
    copy_published(tmp_path / "a/published")
    (tmp_path / "a/quickstart/link").mkdir()
    (tmp_path / "a/quickstart/link/records.json").symlink_to("/etc/passwd")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        file.add(tmp_path / "a", "../../a")
    with tarfile.open(tmp_path / "public.tar", "w") as file:
        file.add(tmp_path / "a/published", "a/published")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.write(tmp_path / "b/quickstart/records.json", "/quickstart/records.json")
        file.writestr("records.json.txt", "none of ours")
    before = contents(tmp_path)
    (found,) = answered("a.tar.gz", "b=b.zip")
    (unpacked,) = answered("a.tar.gz=a", "b")
    assert found["rows"] == unpacked["rows"]
    assert [each["path"] for each in found["folders"]] == [
        *("a.tar.gz/../../a/quickstart/records.json", "b.zip/quickstart/records.json"),
    ]
    public = answered("a/published", "b=public.tar")
    assert {each["experiment"] for each in public} == {name for name, *_ in published_rows()}
    assert {side["verdict"] for one in public for row in one["rows"] for side in row["sides"]} == {
        *(None, "identical"),
    }
    assert contents(tmp_path) == before


def test_names_are_told_from_settings_and_from_folders(three, run_cli, answered, tmp_path):
    (tmp_path / "lr=0.1").mkdir()
    shutil.move(tmp_path / "c", tmp_path / "lr=0.1/a")
    for words, names in (
        (("a", "lr=0.1/a"), ["a", "lr=0.1/a"]),
        (("./a", f"{tmp_path}/b"), ["a", "b"]),
        (("mine=a", "cluster=./b"), ["mine", "cluster"]),
        (("x=lr=0.1/a", "a/quickstart/records.json"), ["x", "quickstart"]),
    ):
        (found, *_) = answered(*words)
        assert [each["name"] for each in found["folders"]] == names
    outcome = run_cli("compare", "a", "formats=json", "b")
    assert "there is no setting formats: did you mean format?" in outcome.err


def test_the_page_has_an_experiment_next_to_its_changed_tables(
    record, run_cli, tmp_path, monkeypatch
):
    monkeypatch.setattr(compose, "options", lambda group: ["quickstart"])
    record("results", plain_8=[16.0, 17.0])
    assert run_cli("report").code == 0
    page = tmp_path / "results/report.html"
    assert "Compared with changed settings" not in page.read_text()
    record("results", "recipe.momentum=0.5", plain_8=[17.0, 18.5])
    assert run_cli("report").code == 0
    text = page.read_text()
    assert text.count("Compared with changed settings") == 1
    for word in ("as shipped", "recipe.momentum=0.5 - as shipped", "+1.25 [-2.63, +5.13]"):
        assert f">{word}</t" in text


def test_what_cannot_be_compared_is_named(run_cli, tmp_path, monkeypatch):
    spoil(tmp_path)
    for words, message in (
        (("results",), "compare takes two or more folders of results: type compare DIR DIR"),
        ((), "compare takes two or more folders of results: type compare DIR DIR"),
        (("results", "nowhere"), "nowhere: there is no such folder or file"),
        (("results", "n" * 300), "File name too long"),
        (("results", "mine=nowhere"), "nowhere: there is no such folder or file"),
        (("results", "empty"), "empty: there is no records.json in it"),
        (("results", "empty.zip"), "empty.zip: there is no records.json in it"),
        (("results", "./results/"), "results is given twice"),
        (("a=results", "a=copy"), "two folders are named a: give one another name"),
        (("copy=results", "copy"), "two folders are named copy: give one another name"),
        (("results", "seeds=copy"), "seeds is a setting; give copy another name: my-seeds=copy"),
        (("copy", "results=copy"), "results is a setting; give copy another name"),
        (("results", "results/quickstart"), "results and quickstart both have results/quickstart"),
        (("a=results/quickstart", "b=copy/cifar_depth"), "a of quickstart, b of cifar_depth"),
        (("torn", "results/quickstart"), "torn/records.json is damaged"),
        (("results", "torn.tar.gz"), "torn.tar.gz cannot be read"),
        (("results", "torn.zip"), "torn.zip cannot be read"),
        (("results", "secret.zip"), "secret.zip cannot be read"),
        (("results", "large.zip"), "large.zip: its files of records have more than"),
        (("foreign", "results/quickstart"), "holds records of my_table, and there is no such"),
        (("results/quickstart/table.md", "results"), "table.md is damaged"),
    ):
        monkeypatch.setattr(packed, "LARGEST", 1000 if "large.zip" in words else 2**30)
        outcome = run_cli("compare", *words)
        assert (outcome.code, outcome.out) == (1, ""), words
        assert message in outcome.err
        assert len(outcome.err.splitlines()) <= 2, words


def test_a_damaged_table_among_others_is_left_out_and_named(run_cli, tmp_path):
    spoil(tmp_path)
    shutil.copytree(tmp_path / "torn", tmp_path / "copy/torn")
    outcome = run_cli("compare", "results", "copy")
    assert outcome.code == 1
    assert "left out: copy/torn/records.json is damaged" in outcome.err
    assert outcome.out.count("identical") == len(published_rows(tmp_path / "results"))


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "nowhere: there is no records.json in it"),
        ("torn", "torn/records.json is damaged"),
        ("foreign", "holds records of my_table, and there is no such"),
    ],
)
def test_what_cannot_be_verified_is_named(run_cli, tmp_path, folder, message):
    spoil(tmp_path)
    outcome = run_cli("verify", folder)
    assert outcome.code == 1
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def published_rows(root=PUBLISHED):
    """Return the rows of which runs are published, with their experiment and their table."""
    return {
        (path.relative_to(root).parts[0], path, run["row"])
        for path in root.rglob("records.json")
        for run in json.loads(path.read_text())["runs"]
    }


def spoil(folder):
    """Copy what is published, a table twice, and make of it what cannot be read."""
    copy_published(folder / "results", "quickstart")
    copy_published(folder / "copy", "quickstart", "cifar_depth")
    (folder / "empty").mkdir()
    zipfile.ZipFile(folder / "empty.zip", "w").close()
    for name in ("torn", "foreign"):
        shutil.copytree(PUBLISHED / "quickstart", folder / name)
    path = folder / "foreign/records.json"
    path.write_text(path.read_text().replace('"quickstart"', '"my_table"'))
    path = folder / "torn/records.json"
    with tarfile.open(folder / "torn.tar.gz", "w:gz") as file:
        file.add(path)
    for name in ("torn.zip", "large.zip", "secret.zip"):
        with zipfile.ZipFile(folder / name, "w") as file:
            file.write(path, "quickstart/records.json")
    secret = bytearray((folder / "secret.zip").read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        secret[secret.index(header) + flags] |= 1  # encrypted
    (folder / "secret.zip").write_bytes(secret)
    for name in ("torn/records.json", "torn.tar.gz", "torn.zip"):
        os.truncate(folder / name, (folder / name).stat().st_size // 2)
