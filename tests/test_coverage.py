"""Every published number of the three papers is a row of an experiment, or has a note in one."""

import re

from omegaconf import OmegaConf

from resnet_repro.report.coverage import PUBLISHED_ROWS, coverage_text, published_rows
from tests.support.papers import EXPERIMENTS, plan
from tests.support.paths import REFERENCE

PAPERS = OmegaConf.to_container(OmegaConf.load(REFERENCE / "papers.yaml"))["papers"]
PUBLISHED = {
    row["id"]: row["values"]
    for paper in PAPERS
    for table in paper["tables"].values()
    for row in table["rows"]
}
# Sizes that rows of the experiments print, in `tests/test_papers.py`.
SIZES = ("p1.t1.resnet", "p1.t1.plain", "p3.t1.")


def found():
    return [published_rows(plan(name)) for name in EXPERIMENTS]


def test_no_row_of_a_paper_is_missing():
    here = {key for rows in found() for key in rows}
    assert [key for key in PUBLISHED if key not in here] == []
    assert here <= PUBLISHED.keys()


def test_the_total_is_that_of_the_collection():
    numbers = {}
    for key in PUBLISHED:
        numbers[key.split(".")[0]] = numbers.get(key.split(".")[0], 0) + 1
    assert numbers == PUBLISHED_ROWS


def test_a_note_has_the_numbers():
    """Those of a row that is nowhere else."""
    for name in EXPERIMENTS:
        for key, note in plan(name).paper.elsewhere.items():
            if key.startswith(SIZES) or key.startswith("p1.t7."):
                continue
            for value in PUBLISHED[key].values():
                short = value / 1e9 if value and value > 1e9 else value
                there = {*re.findall(r"\d+(?:\.\d+)?", note)}
                assert value is None or {f"{short:g}", str(value)} & there, (key, value)


def test_the_list_says_how_many_there_are():
    text = coverage_text(found())
    assert text.startswith(f"Rows of the three papers: {len(PUBLISHED)} of {len(PUBLISHED)}.")
    rows = [{"a": "run", "b": "cited", "c": "a note"}, {"a": "cited", "b": "run"}]
    assert "3 of 218. 2 can be run, 0 are cited, 1 have a note" in coverage_text(rows)
    assert coverage_text([{}]) == ""
