"""The page of all experiments: whole, closed in itself, and true to the tables."""

import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from resnet_repro.cli import compose
from resnet_repro.records.results import load_results, write_records
from resnet_repro.report.page.page import PAGE_FILE, make_page, page_text
from resnet_repro.report.page.sections import make_section
from resnet_repro.report.pictures.registry import caption
from resnet_repro.report.render import render
from resnet_repro.report.tables import build_table
from resnet_repro.report.write import write_outputs
from resnet_repro.settings.experiment import ClaimConfig
from tests.support.plans import plan
from tests.support.results import cells, result, results_of

VOID = {"meta", "img", "br"}
ODD = "<b>&"


class Page(HTMLParser):
    """What a browser would read of a page; whatever is opened is closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.loads, self.words = [], [], {}, [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in VOID:
            self.open.append((tag, attrs))
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.loads += [attrs[name] for name in ("src", "srcset", "data") if name in attrs]
        self.loads += [attrs["href"]] if "href" in attrs and tag != "a" else []
        assert tag != "script"
        assert tag != "img" or attrs["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for tag, attrs in self.open:
            if tag == "a":
                self.links[attrs["href"]] = self.links.get(attrs["href"], "") + data
        if self.open and self.open[-1][0] != "style" and data.strip():
            self.words.append(" ".join(data.split()))


@pytest.fixture
def recorded(tmp_path):
    """Return an experiment with records, a claim, and a row whose name is no HTML."""
    made = plan("cifar_depth", f"results={tmp_path}")
    rows = [replace(row, name=ODD) if row.name == "ResNet-32" else row for row in made.rows]
    claim = ClaimConfig(text=f"20 layers are worse than {ODD}", falling=["ResNet-20", ODD])
    made = replace(made, rows=tuple(rows), claims=(claim,))
    found = results_of(made, ResNet_20=[8.9, 8.7], ResNet_110=[6.7, 6.5, 6.6])
    found |= results_of(made, **{ODD: [7.5, 7.6]})
    write_records(made, found)
    return made


@pytest.mark.pictures
def test_the_page_is_whole_and_loads_nothing(recorded):
    text = make_page([recorded])
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert all(link.startswith("#") for link in page.links)
    assert len(page.loads) == 4  # pictures
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.loads)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_it_says_what_the_table_says_and_leads_to_the_runs(recorded):
    page = Page(page_text([make_section(recorded)]))
    table = build_table(recorded, load_results(recorded))
    row = cells(render(table, "md"), "ResNet-110")
    for text in row[:6]:
        assert text in page.words
    assert "[-0.24, +0.22]" in row[6]
    word, interval = row[6].split(" ", 1)
    place = page.words.index(interval)
    assert page.words[place - 1] == word
    number = 1 + [line.name for line in table.lines].index("ResNet-110")
    assert row[4] in page.links[f"#cifar_depth-row-{number}"]
    for each in load_results(recorded)["ResNet-110"]:
        assert f"cifar_depth-{each.id}" in page.ids
        assert f"SHA-256 {each.weights}" in page.words
    assert any("0.1.0 (01234567), torch 2.15.0, a CPU, 2 cores" in word for word in page.words)
    assert f"20 layers are worse than {ODD}. Test error:" in page.words
    holds = next(word for word in page.words if word.startswith(f"ResNet-20 - {ODD}: +1.25"))
    assert page.words[page.words.index(holds) - 1] == "holds"


@pytest.mark.pictures
def test_a_sweep_of_some_rows_is_on_the_page(tmp_path):
    made = plan("quickstart", f"results={tmp_path}", "row=ResNet-8",
                "sweep.grid=['recipe.lr=choice(0.05,0.1)']")  # fmt: skip
    first, second = made.selected
    write_records(made, results_of(made, **{first: [19.0, 19.1], second: [12.0, 12.1]}))
    page = Page(make_page([made]))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    interval = next(word for word in page.words if word.startswith("[-"))
    assert page.words[page.words.index(interval) - 1] == "better"
    words = "row=ResNet-8 'recipe.lr=choice(0.05,0.1)'"
    assert f"resnet-repro experiment=quickstart {words}" in page.words
    assert words in page.words  # next to its name in the list
    assert caption("sweep", made) in page.words


def test_names_are_text_and_never_markup(recorded):
    text = page_text([make_section(recorded)])
    assert ODD in Page(text).words
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text


@pytest.mark.pictures
def test_the_same_records_give_the_same_page(recorded):
    assert make_page([recorded]) == make_page([recorded])


def test_the_verb_shows_what_is_recorded_also_with_changed_settings(run_cli, tmp_path, monkeypatch):
    names = ["cifar_depth", "cifar_plain", "preact_best", "preact_depth", "preact_order"]
    monkeypatch.setattr(compose, "options", lambda group: names)  # all take ten seconds
    outcome = run_cli("report")
    assert outcome.code == 1
    assert "nothing is recorded in results" in outcome.err
    results = tmp_path / "results"
    for words in ((), ("recipe.iterations=1500",)):
        made = plan("cifar_depth", *words, f"results={results}")
        write_records(made, results_of(made, ResNet_20=[8.9 + len(words)]))
        write_outputs(made)
    shutil.copytree(results / "cifar_depth", results / "copy")
    damaged = write_records(plan("cifar_plain", f"results={results}"), {})
    damaged.write_text(damaged.read_text()[:50])
    outcome = run_cli("report")
    assert (outcome.code, outcome.out) == (1, f"results/{PAGE_FILE}\n")  # the others are there
    assert "left out: results/cifar_plain/records.json is damaged" in outcome.err
    assert "left out: results/copy/records.json: its settings belong in" in outcome.err
    page = Page((results / PAGE_FILE).read_text())
    changed = [id for id in page.ids if id.startswith("cifar_depth-changed-")]
    assert changed
    assert f"#{changed[0]}" in page.links
    assert "resnet-repro experiment=cifar_depth recipe.iterations=1500" in page.words
    assert "cifar_depth" in page.ids
    assert "cifar_plain" not in page.ids
    assert "8.90" in page.words
    assert "not comparable" in page.words
    assert (
        next(w for w in page.words if w.startswith("Experiments without records:")).count("preact")
        > 2
    )


@pytest.mark.pictures
def test_a_sweep_over_some_rows_has_its_runs_and_pictures_on_the_page(tmp_path):
    sweep = "sweep.grid=['recipe.lr=0.05,0.1']"
    made = plan("cifar_depth", f"results={tmp_path}", "row=ResNet-32", sweep)
    results = {row.name: [result(row), result(row, 1)] for row in made.selected_rows}
    write_records(made, results)
    page = Page(make_page([made]))
    for row in made.selected_rows:
        number = [line.name for line in build_table(made, results).lines].index(row.name) + 1
        assert f"cifar_depth-sweep-recipe.lr-row-{number}" in page.ids
        assert row.name in page.words
    assert caption("sweep", made) in page.words
