"""Published results: shown next to ours, read as results are, and never written."""

import re

from tests.support.paths import contents, copy_published
from tests.support.results import cells
from tests.support.runs import SMALL


def test_published_results_are_shown_and_never_counted(run_cli, tmp_path, write, monkeypatch):
    monkeypatch.setattr("resnet_repro.cli.compose.options", lambda group: ["cifar_depth"])
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
    assert cells(compared.out, "ResNet-20")[1:3] == ["9.10 (1)", "8.30 (1)"]
    assert cells(compared.out, "ResNet-110")[1:3] == ["-", "6.50 ± 0.14 (2)"]
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
    assert (
        "published results are not shown: results/published/cifar_depth/records.json is damaged"
        in outcome.err
    )


def test_an_experiment_does_not_take_the_place_of_published_ones(run_cli, tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/published.yaml").write_text("# @package _global_\n")
    outcome = run_cli("plan", "--config-dir", "mine", "experiment=published")
    assert outcome.code == 1
    assert "results/published has another use; rename the file" in outcome.err
