"""A detector's step that was stopped continues as if it had not been."""

from contextlib import ExitStack

import pytest
import torch

from resnet_repro.detection.detections import Detections
from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine import checkpoint
from resnet_repro.engine.detection import proposals as made
from resnet_repro.engine.detection.step import DetectorStep
from resnet_repro.engine.detection.testing import detections_path
from resnet_repro.errors import StoppedRun
from resnet_repro.plan import Run
from resnet_repro.records import Record
from tests.support.detection_runs import (
    StopAfter,
    chain,
    settings,
    train,
    weights,
    with_fields,
)
from tests.support.training import EAGER, PowerCutError, timeless


def assert_same(ours, theirs, run):
    """Compare weights, record and detections of two folders, bit for bit."""
    mine, other = weights(ours), weights(theirs)
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert timeless(Record(ours).events()) == timeless(Record(theirs).events())
    if run.config.detector.step != "proposals":
        found = [Detections.load(detections_path(f, run.config.evaluation)) for f in (ours, theirs)]
        assert len(found[0]) > 0
        assert found[0].checksum() == found[1].checksum()


@pytest.mark.parametrize("step", ["proposals", "regions", "joint"])
def test_a_step_killed_anywhere_ends_with_the_same_weights(
    squares, whole, copied, monkeypatch, step
):
    run = with_fields(chain(squares)[step], compute={"save_minutes": 0.0})
    results, real, calls = copied(*run.needs), DetectorStep.__call__, []

    def cut(*args):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise PowerCutError
        return real(*args)

    monkeypatch.setattr(DetectorStep, "__call__", cut)
    for _ in range(9):
        try:
            folder = train(run, results)
        except PowerCutError:
            continue
        break
    assert len(calls) > 6
    assert_same(folder, whole / "runs" / run.id, run)


def test_a_run_stopped_while_its_proposals_are_made_keeps_those_that_are(
    squares, whole, copied, monkeypatch
):
    monkeypatch.setattr(made, "PART", 4)  # of ten photographs: 4, 4, 2
    run = chain(squares)["regions"]
    results = copied(*run.needs)
    proposer = results / "runs" / run.needs[1].id
    for folder in proposer.glob("proposals-*"):
        for path in folder.iterdir():
            path.unlink()
    # Asked once at the start of the run, and then for each photograph.
    with pytest.raises(StoppedRun, match="while proposals were made"):
        train(run, results, StopAfter(1 + 6))
    (first,) = proposer.glob("proposals-*/00000.bin")
    before = first.stat().st_mtime_ns
    assert not first.with_name("00001.bin").exists()
    assert_same(train(run, results), whole / "runs" / run.id, run)
    assert first.stat().st_mtime_ns == before


def test_a_run_stopped_in_its_last_test_is_only_tested_again(squares, whole, copied, monkeypatch):
    run = chain(squares)["joint"]
    results = copied(*run.needs)
    asked = StopAfter(10**6)
    real, calls = DetectorStep.__call__, []

    def step(*args):
        calls.append(1)
        if len(calls) == 6:
            asked.left = 1  # in the test's second photograph
        return real(*args)

    monkeypatch.setattr(DetectorStep, "__call__", step)
    with pytest.raises(StoppedRun, match="during a test"):
        train(run, results, asked)
    assert len(calls) == 6
    folder = train(run, results)
    assert len(calls) == 6
    assert_same(folder, whole / "runs" / run.id, run)


def test_proposals_that_are_cut_off_or_damaged_are_made_again(squares, whole, copied):
    run = chain(squares)["regions"]
    results = copied(*run.needs)
    paths = sorted((results / "runs" / run.needs[1].id).glob("proposals-*/*.bin"))
    contents = [path.read_bytes() for path in paths]
    assert len(paths) == 2  # of the photographs to train and to test on
    paths[0].write_bytes(contents[0][:-8])
    paths[1].write_bytes(b"\xff" * 24)
    assert_same(train(run, results), whole / "runs" / run.id, run)
    assert [path.read_bytes() for path in paths] == contents


def test_a_network_with_dropout_that_is_killed_ends_with_the_same_weights(
    squares, tmp_path, monkeypatch
):
    vgg = {"name": "vgg16", "depth": 16, "shortcut": "none", "width": 4}
    run = Run("vgg", settings(squares, "joint", model=vgg, compute={"save_minutes": 0.0}))
    whole = weights(train(run, tmp_path / "whole"))
    real = checkpoint.save

    def save(folder, state):
        real(folder, state)
        if state["progress"]["iteration"] == 3:
            raise PowerCutError

    with monkeypatch.context() as context, pytest.raises(PowerCutError):
        context.setattr(checkpoint, "save", save)
        train(run, tmp_path / "broken")
    torch.rand(7)  # what was drawn in between does not matter
    broken = weights(train(run, tmp_path / "broken"))
    assert all(torch.equal(broken[name], whole[name]) for name in whole)


def test_a_part_is_made_again_for_what_could_not_be_read_alone(tmp_path):
    """A photograph that has no proposals, as a narrow one, was read."""
    files, some = made.ProposalFiles(tmp_path, 3), torch.ones(2, 4)
    files.write(0, [some, None, some])
    assert files.missing() == [0]
    assert [len(files[each]) for each in range(3)] == [2, 0, 2]
    files.write(0, [some, torch.zeros(0, 4), some])
    assert files.missing() == []
    assert [len(files[each]) for each in range(3)] == [2, 0, 2]


def test_a_part_that_another_run_made_meanwhile_is_not_made_again(squares, tmp_path):
    run, files = chain(squares)["proposals"], made.ProposalFiles(tmp_path, 3)

    def maker():
        files.write(0, [torch.ones(1, 4)] * 3)
        return pytest.fail

    made.fill(files, run, range(3), None, maker, EAGER, SINGLE_PROCESS, None)
    assert files[2].tolist() == [[1.0] * 4]


class Grey:
    """A feed whose photographs have no pixels."""

    def pixels(self, scenes, positions):
        yield from ((position, None) for position in positions)


def test_a_part_that_another_process_makes_does_not_hold_up_the_others(
    squares, tmp_path, monkeypatch
):
    monkeypatch.setattr(made, "PART", 1)
    monkeypatch.setattr(made, "WAIT_SECONDS", 0.0)
    run, files, asked = chain(squares)["proposals"], made.ProposalFiles(tmp_path, 3), []
    box = torch.ones(1, 4)
    with ExitStack() as other:
        assert other.enter_context(files.locked(0))

        def propose(position, _):
            asked.append(position)
            if position == 2:
                files.write(0, [2 * box])
                other.close()
            return box

        made.fill(files, run, range(3), Grey(), lambda: propose, EAGER, SINGLE_PROCESS, None)
    assert asked == [1, 2]
    assert [files[position].tolist() for position in range(3)] == [
        (number * box).tolist() for number in (2, 1, 1)
    ]


def test_a_run_that_waits_for_another_process_can_be_stopped(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "WAIT_SECONDS", 0.0)
    run, files = chain(squares)["proposals"], made.ProposalFiles(tmp_path, 3)
    how = EAGER, SINGLE_PROCESS, StopAfter(5)
    with files.locked(0), pytest.raises(StoppedRun, match="while proposals were made"):
        made.fill(files, run, range(3), Grey(), lambda: pytest.fail, *how)
    assert files.missing() == [0]
