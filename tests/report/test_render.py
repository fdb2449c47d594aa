"""The formats of a table."""

import csv
import io
import json
from dataclasses import replace

from resnet_repro.report.render import render
from resnet_repro.report.tables import build_table
from resnet_repro.text import markdown
from tests.support.plans import plan
from tests.support.results import results_of


def test_tex_and_markdown_escape_what_they_must():
    made = plan("cifar_depth")
    rows = tuple(replace(row, name=r"50% & $x_1$ | a\b") for row in made.rows[:1])
    table = build_table(replace(made, rows=rows, claims=()), {})
    assert r"50\% \& \$x\_1\$ $|$ a\textbackslash{}b & " in render(table, "tex")
    assert r"50% & $x_1$ \| a\b" in render(table, "md")


def test_csv_json_and_tex_hold_the_same_numbers():
    made = plan("cifar_depth")
    table = build_table(made, results_of(made, ResNet_20=[8.9], ResNet_110=[6.7, 6.5, 6.6]))
    rows = {row["network"]: row for row in csv.DictReader(io.StringIO(render(table, "csv")))}
    assert float(rows["ResNet-20"]["our_mean"]) == 8.9
    assert float(rows["ResNet-110"]["paper_std"]) == 0.16
    lines = {line["name"]: line for line in json.loads(render(table, "json"))["lines"]}
    assert lines["ResNet-110"]["ours"]["num_runs"] == 3
    tex = render(table, "tex")
    assert r"undecided {[}-0.34, +0.64{]}" in tex
    assert r"ResNet-110 & 110 & 1.73M & 6.43 (6.61 $\pm$ 0.16) & 6.60 $\pm$ 0.10" in tex
    assert tex.count(r"\\") == len(table.lines) + 1


def test_markdown_aligns_numbers_to_the_right():
    text = markdown(["name", "error"], [["a", "8.75"], ["bcd", "10.2"]])
    assert text == (
        "| name | error |\n| ---- | ----: |\n| a    |  8.75 |\n| bcd  |  10.2 |"
    )  # fmt: skip
