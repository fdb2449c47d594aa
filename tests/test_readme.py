"""What the READMEs show is there, and is what was measured."""

import json
import re

from tests.support.paths import PUBLISHED, ROOT


def test_links_of_the_readmes_lead_somewhere():
    for readme in (ROOT / "README.md", PUBLISHED / "README.md"):
        links = re.findall(r"\]\(([^):#]+)\)", readme.read_text())
        assert links
        assert [link for link in links if not (readme.parent / link).exists()] == []


def test_the_readme_shows_the_quickstarts_own_table():
    table = (PUBLISHED / "quickstart/table.md").read_text().split("\n\n")[1]
    assert table.startswith("| network")
    assert table in (ROOT / "README.md").read_text()


def test_the_readme_shows_the_first_experiments_own_numbers():
    folder = PUBLISHED / "cifar_short/changed-recipe.precision=bf16"
    published = {}
    for line in (folder / "table.md").read_text().splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        published.setdefault(name, cells)
    section = (ROOT / "README.md").read_text().split("## A first real experiment")[1]
    shown = [
        line
        for line in section.split("\n## ")[0].splitlines()
        if "Net-" in line or "plain-" in line
    ]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown if line[0] == "|"
    ]
    assert len(rows) >= 4
    for name, layers, error, training, seeds in rows:
        there = published[name]
        assert [layers, error, training, seeds] == [
            *(there[0], there[2].removesuffix(" [1]"), there[3], there[4])
        ]


def test_the_readme_shows_what_was_measured():
    content = json.loads((PUBLISHED / "benchmarks/training-cpu.json").read_text())
    made = [each for each in content["measurements"] if each["experiment"] == "cifar_depth"]
    rates = {  # the last of each row
        (line["row"], line["variant"]): line
        for each in sorted(made, key=lambda each: each["date"])
        for line in each["lines"]
    }
    lines = [
        row for row in (ROOT / "README.md").read_text().splitlines() if row.startswith("| ResNet-")
    ]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in lines]
    shown = {(cells[0], cells[1]): cells[2:] for cells in rows}
    for network in ("ResNet-20", "ResNet-56", "ResNet-110"):
        for precision in ("fp32", "bf16"):
            measured = []
            for variant in (
                "usual loop",
                f"{precision}, channels_last c++",
                f"{precision}, 1 run by 2 processes",
                f"{precision}, 2 runs in processes",
            ):
                line = rates[network, variant]
                measured.append(f"{line['batch_size'] / line['timing']['seconds']:.0f}")
                measured.append(f"{line['speedup']:.2f}")
            del measured[1]  # the usual loop's, 1.00
            assert shown[network, precision] == measured
