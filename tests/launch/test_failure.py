"""A run that fails: said in a line where it is not our mistake, and the others go on."""

import errno
import re
import resource

import pytest
import torch

from resnet_repro.cli import main as cli
from resnet_repro.distributed.group import Group
from resnet_repro.engine import groups
from resnet_repro.launch import failure, local, side_by_side
from resnet_repro.plan import Run
from tests.support.plans import plan
from tests.support.runs import RUNS, SMALL, changed, the_run


@pytest.mark.parametrize("name", ["environment.json", "record.jsonl"])
def test_a_damaged_run_is_named_and_the_others_go_on(run_cli, tmp_path, name):
    words = [*SMALL, "row=[ResNet-8,plain-8]"]
    assert run_cli(*SMALL).code == 0
    (the_run(tmp_path) / name).write_text("junk\n")
    (tmp_path / "results/quickstart").rename(tmp_path / "results/elsewhere")
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert f"{name} is damaged" in outcome.err
    line = next(line for line in outcome.out.splitlines() if line.startswith("| plain-8 "))
    assert "after 6 of 500 iterations" in line
    table = run_cli("table", *words)
    assert (table.code, "Traceback" in table.err) == (0, False)
    plan = run_cli("plan", *words)
    assert "1 to do" in plan.out


def test_a_run_whose_checkpoint_is_damaged_is_named_and_the_others_go_on(run_cli, tmp_path):
    assert run_cli(*SMALL).code == 0
    (the_run(tmp_path) / "record.jsonl").unlink()  # as if it had been stopped
    (the_run(tmp_path) / "last.pt").write_text("junk\n")
    outcome = run_cli(*SMALL, "row=[ResNet-8,plain-8]")
    assert outcome.code == 1
    assert "no checkpoint in" in outcome.err
    assert "Traceback" not in outcome.err
    line = next(line for line in outcome.out.splitlines() if line.startswith("| plain-8 "))
    assert "after 6 of 500 iterations" in line


def test_a_full_disk_is_said_in_a_line_and_costs_no_other_run(run_cli, tmp_path):
    # Weights of several MB, so that writing them fails before the file is closed.
    words = [*SMALL, "compute.save_minutes=0", "model.width=64"]
    stopped = run_cli(*words, "recipe.iterations=4", "recipe.lr_drops=[]")
    assert stopped.code == 0
    finished = (the_run(tmp_path) / "last.pt").read_bytes()
    planned = run_cli("status", *words).out
    name = next(word for word in planned.split() if word.startswith("ResNet-8-seed0-"))
    # No file may be as large as the next run's checkpoint.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        full = run_cli(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.code == 1
    assert "File too large" in full.err
    assert "Free some space or set results=DIR" in full.err
    assert len(full.err.strip().splitlines()) <= 2
    assert not list((tmp_path / RUNS / name).glob("*.tmp"))  # gives its space back
    assert run_cli(*words).code == 0
    others = [p for p in (tmp_path / RUNS).glob("*-seed*") if p.name != name]
    assert (others[0] / "last.pt").read_bytes() == finished


def run_with_a_row_that_raises(run_cli, monkeypatch, error):
    """Run ResNet-8 and ResNet-32, the second of which raises."""
    real = side_by_side.train_stepwise

    def train_stepwise(run, *args):
        if run.row == "ResNet-32":
            raise error
        yield from real(run, *args)

    monkeypatch.setattr(side_by_side, "train_stepwise", train_stepwise)
    words = [word for word in SMALL if not word.startswith("row=")]
    outcome = run_cli(*words, "row=[ResNet-8,ResNet-32]")
    assert outcome.code == 1
    assert "after 6 of 500 iterations" in outcome.out  # the other row has its cell
    return outcome, run_cli("status", *words, "row=ResNet-32").out


def test_out_of_gpu_memory_names_the_setting_and_spares_the_other_rows(run_cli, monkeypatch):
    error = torch.OutOfMemoryError("CUDA out of memory")
    outcome, status = run_with_a_row_that_raises(run_cli, monkeypatch, error)
    assert "recipe.bn_batch=8 needs about 50% of the memory" in outcome.err
    assert "Traceback" not in outcome.out + outcome.err
    assert "failed: out of GPU memory" in status


def test_a_mistake_of_ours_keeps_its_traceback_and_spares_the_other_rows(run_cli, monkeypatch):
    error = ZeroDivisionError("a bug")
    outcome, status = run_with_a_row_that_raises(run_cli, monkeypatch, error)
    assert "ZeroDivisionError: a bug" in outcome.err
    assert "Traceback" in outcome.err
    assert "failed: ZeroDivisionError: a bug" in status


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory. "),
        (MemoryError(), "out of memory. compute.recompute=2 needs much less"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Or recipe.bn_batch=8 needs about 50%"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "image-reading process was killed",
        ),
        (RuntimeError("DataLoader timed out after 300 seconds"), "disk of data.root does not"),
    ],
)
def test_what_a_machine_lacks_is_said_in_a_line(run_cli, monkeypatch, error, words):
    def raises(*_):
        raise error
        yield

    monkeypatch.setattr(side_by_side, "train_stepwise", raises)
    outcome = run_cli(*SMALL)
    assert outcome.code == 1
    assert words in outcome.err
    assert "Traceback" not in outcome.out + outcome.err
    assert "failed: " in run_cli("status", *SMALL).out


def test_groups_one_after_the_other_are_advised_first(config, monkeypatch):
    """They need less memory, and change no result."""
    several = changed(config, recipe={"batch_size": 32, "bn_batch": 8})
    advice = failure._memory_advice(Run("ResNet-8", several), "unfinished")
    assert re.fullmatch(r"compute\.accumulate=true needs about \d+% of the memory, .*", advice)
    monkeypatch.setattr(groups, "available_bytes", lambda: 0)  # so it was done already
    advice = failure._memory_advice(Run("ResNet-8", several), "unfinished")
    assert "compute.accumulate" not in advice
    assert "recipe.bn_batch=4 needs about 50% of the memory" in advice


def test_a_shortage_outside_of_a_run_is_said_in_a_line(run_cli, monkeypatch):
    def table(_):
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setitem(cli.VERBS, "table", table)
    outcome = run_cli("table", *SMALL)
    assert outcome.code == 1
    assert outcome.err.startswith("resnet-repro: out of memory. Check `ulimit -v`")


@pytest.mark.parametrize(
    ("experiment", "advice"),
    [
        ("coco_improvements", "Fewer or smaller evaluation.sizes need less memory"),
        ("imagenet_localisation_regions", "evaluation.batch_size=128 needs about half"),
        ("imagenet_ensemble", "evaluation.batch_size=128 needs about half"),
    ],
)
def test_an_ensemble_that_lacks_memory_is_named_with_advice_and_others_go_on(
    tmp_path, monkeypatch, heard, experiment, advice
):
    def raises(*_):
        raise error

    made = plan(experiment, f"results={tmp_path}")
    ensemble = made.ensembles[0]
    monkeypatch.setattr(local, "_waits", lambda *_: False)
    monkeypatch.setattr(local, "_in_processes", raises)
    error = torch.OutOfMemoryError("CUDA out of memory")
    assert not local._test_ensemble(made, ensemble, Group())
    assert f"{ensemble.row}: out of GPU memory. {advice}" in heard.text
    with pytest.raises(torch.OutOfMemoryError):  # the other processes wait inside the test
        local._test_ensemble(made, ensemble, Group(0, 2))
    error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        local._test_ensemble(made, ensemble, Group())
