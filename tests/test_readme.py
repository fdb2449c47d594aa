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


def rows_of(text):
    """Return the cells of a text's rows of networks, by network."""
    found = {}
    for line in text.splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and "-" in name.strip("-:"):
            found.setdefault(name, []).append(cells)
    return found


def shown(section):
    """Return the rows of networks in a section of the README."""
    text = (ROOT / "README.md").read_text().split(f"\n## {section}\n")[1]
    return rows_of(text.split("\n## ")[0])


def published(name):
    """Return the rows of a published table."""
    return rows_of((PUBLISHED / name / "table.md").read_text())


def test_the_readme_shows_the_first_experiments_own_numbers():
    rows = shown("A first real experiment")
    there = published("cifar_short/changed-recipe.precision=bf16")
    assert rows.keys() == there.keys()
    for name, (cells,) in rows.items():
        layers, _, error, training, seeds = there[name][0][:5]
        assert cells == [layers, error.removesuffix(" [1]"), training, seeds]


def test_the_readme_shows_rows_of_table_6():
    fp32, bf16 = (published(f"cifar_depth{of}") for of in ("", "/changed-recipe.precision=bf16"))
    assert shown("Read a table") == {"ResNet-20": fp32["ResNet-20"]}
    rows = shown("Reproduce a table")
    assert sum(map(len, rows.values())) == 3
    for name, shown_rows in rows.items():
        for precision, *cells in shown_rows:
            _, _, paper, ours, _, verdict, *_ = {"fp32": fp32, "bf16": bf16}[precision][name][0]
            assert cells == [ours.removesuffix(" [1]"), paper, verdict.split()[0]]


def test_the_readme_loads_the_network_of_a_run_that_there_is():
    table = (PUBLISHED / "cifar_depth/table.json").read_text()
    (run,) = set(re.findall(r'"(ResNet-20-seed0-\w+)"', table))
    assert f'load_network("results/runs/{run}")' in (ROOT / "README.md").read_text()


def test_the_readme_shows_what_was_measured():
    content = json.loads((PUBLISHED / "benchmarks/training-cpu.json").read_text())
    made = [each for each in content["measurements"] if each["experiment"] == "cifar_depth"]
    rates = {  # the last of each row
        (line["row"], line["variant"]): line
        for each in sorted(made, key=lambda each: each["date"])
        for line in each["lines"]
    }
    rows = shown("Speed")
    for network in ("ResNet-20", "ResNet-56", "ResNet-110"):
        for precision in ("fp32", "bf16"):
            of_one = rates[network, f"{precision}, channels_last c++"]
            usual = of_one["batch_size"] / of_one["timing"]["seconds"] / of_one["speedup"]
            measured = [f"{usual:.0f}"]  # that of the same rounds
            for variant in (
                f"{precision}, channels_last c++",
                f"{precision}, 1 run by 2 processes",
                f"{precision}, 2 runs in processes",
            ):
                line = rates[network, variant]
                measured.append(f"{line['batch_size'] / line['timing']['seconds']:.0f}")
                measured.append(f"{line['speedup']:.2f}")
            assert [precision, *measured] in rows[network]
