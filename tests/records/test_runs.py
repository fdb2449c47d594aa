"""The folders of runs, found whoever made them."""

import os
import time

import pytest

from resnet_repro.records.runs import recorded_seeds, run_folder
from tests.support.plans import plan


def test_other_seeds_on_disk_are_found(tmp_path):
    made = plan("cifar_depth", f"results={tmp_path}")
    (row,) = (row for row in made.rows if row.name == "ResNet-20")
    for seed in (0, 12):
        (tmp_path / "runs" / row.run(seed).id).mkdir(parents=True)
    (tmp_path / "runs" / "ResNet-20-seed5-00000000").mkdir()  # of other settings
    assert recorded_seeds(row, tmp_path) == [0, 12]


@pytest.mark.parametrize("age", [0, 3600])
def test_a_folder_that_another_process_makes_is_found(tmp_path, age):
    """Also in the same tick of the clock, which leaves the time of change as it is."""
    runs = tmp_path / "runs"
    runs.mkdir()
    (run,) = plan("cifar_depth", f"results={tmp_path}", "row=ResNet-20").runs
    made = plan("cifar_depth", f"results={tmp_path}")
    then = time.time() - age
    os.utime(runs, (then, then))
    assert run_folder(run, made.results) == runs / run.id
    theirs = runs / f"another-row-seed0-{run.digest}"
    theirs.mkdir()
    if not age:
        os.utime(runs, (then, then))
    assert run_folder(run, made.results) == theirs
