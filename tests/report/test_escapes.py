"""Text of others: escaped in every format, on the page and in pictures."""

import csv
import json
from dataclasses import replace

from resnet_repro.records.results import write_records
from resnet_repro.report.pictures import registry as plots
from resnet_repro.report.tables import build_table
from resnet_repro.visible import one_line, visible
from tests.support.results import SESSION, results_of, the_run

PICTURES = plots.PICTURES
HOSTILE = "a\x1b[31m\u202eb\nc"  # an escape sequence, a mark that turns the text round, a new line


def test_hidden_characters_are_written_out():
    assert visible(HOSTILE) == "a\\x1b[31m\\u202eb\nc"
    assert one_line(HOSTILE) == "a\\x1b[31m\\u202eb c"
    assert one_line("a\r\n\u2028\\input{x}\t\ud800é±") == "a \\input{x} \\ud800é±"


EXPERIMENT = """
# @package _global_
defaults:
  - override /model: cifar_resnet
  - override /data: cifar10
  - override /recipe: cifar_64k
paper:
  cite: X
  where: "a\\n\\\\input{where}"
  title: "T\\n\\\\input{title} \\e[31m<script>x</script>"
rows:
  - {name: "=cmd|' /C calc'!A1", set: {model.depth: 8}}
  - {name: "-0.5", set: {model.depth: 14}}
  - {name: "\\n@SUM(1) \\u202e", set: {model.depth: 20}}
  - {name: "[text](http://x) ![i](y) <img src=x> \\e]0;t\\a | p", set: {model.depth: 26}}
  - {name: "$\\\\frac$ \\x1b", set: {model.depth: 32}}
claims:
  - {text: "c\\n\\\\input{claim}", falling: ["=cmd|' /C calc'!A1", "-0.5"]}
"""


def test_text_of_an_experiment_is_escaped_for_each_format(run_cli, tmp_path, monkeypatch):
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "hostile.yaml").write_text(EXPERIMENT)
    words = ("--config-dir", str(tmp_path / "mine"), "experiment=hostile")
    made = {}
    for kind in ("md", "csv", "tex", "json"):
        outcome = run_cli("table", *words, f"format={kind}")
        assert outcome.code == 0, outcome.err
        made[kind] = outcome.out
    for text in [*made.values(), run_cli("explain", *words).out, run_cli("status", *words).out]:
        assert not set(text) & set("\x1b\x07\u202e")
    comments, tabular = made["tex"].split("\\begin{tabular}")
    assert all(line.startswith("%") for line in comments.splitlines())
    assert comments.count("\\input") == 3
    assert "\\input" not in tabular
    names = [row["network"] for row in csv.DictReader(made["csv"].splitlines())]
    assert names[:3] == ["'=cmd|' /C calc'!A1", "-0.5", "' @SUM(1) \\u202e"]
    assert "T \\input{title} \\x1b[31m\\<script>x\\</script>" in made["md"]
    assert r"[text]\(http://x) !\[i]\(y) \<img src=x> \x1b]0;t\x07 \| p" in made["md"]
    assert len({line.replace(r"\|", "").count("|") for line in made["md"].splitlines()
                if line.startswith("|")}) == 1  # fmt: skip
    assert json.loads(made["json"])["lines"][2]["name"] == "\n@SUM(1) \u202e"
    error = run_cli("table", *words, "row=\x1b[31mx").err
    assert "\x1b" not in error
    assert "row=\\x1b[31mx" in error


def test_text_of_a_record_is_escaped_on_the_page_and_in_pictures(run_cli, made, monkeypatch):
    reason = f"<script>alert(1)</script> {HOSTILE} `</code><b>`"
    found = results_of(made, ResNet_20=[8.9], ResNet_32=[7.9])
    bad = replace(found["ResNet-20"][0], state="diverged", reason=reason, weights=HOSTILE)
    session = {**SESSION, "cpu": HOSTILE, "command": "x '`</code><b>`\x1b'"}
    good = replace(found["ResNet-32"][0], sessions=[session])
    write_records(made, {"ResNet-20": [bad], "ResNet-32": [good]})
    (the_run(made) / "record.jsonl").unlink()
    monkeypatch.setattr("resnet_repro.cli.compose.options", lambda group: ["cifar_depth"])
    assert run_cli("report").code == 0
    text = (made.results / "report.html").read_text()
    assert not set(text) & set("\x1b\u202e")
    assert "<script" not in text
    assert "<b>" not in text
    assert "a\\x1b[31m\\u202eb" in text
    monkeypatch.setattr(plots, "PICTURES", PICTURES)
    titled = replace(made, paper=replace(made.paper, title=HOSTILE))
    plots.write_pictures(titled, build_table(titled, {}), {HOSTILE: [good]})
    drawn = (made.folder / "curves.svg").read_text()
    assert "\x1b" not in drawn
    assert drawn.count("a\\x1b[31m") == 2  # title and legend
