"""Detections of a whole test set."""

import pytest
import torch

from resnet_repro.detection.detections import Detections
from resnet_repro.errors import UserError
from tests.support.scenes import detections_of

FOUND = [
    (1, (0, 0, 1, 1), 0.5, 1),
    (0, (0, 0, 2, 2), 0.5, 1),
    (0, (0, 0, 3, 3), 0.5, 0),
    (1, (0, 0, 4, 4), 0.75, 0),
    (0, (0, 0, 5, 5), 0.5, 1),
]


def test_they_are_sorted_by_score_photograph_class_and_order():
    widths = detections_of(FOUND).sorted().boxes[:, 2].tolist()
    assert widths == [4, 3, 2, 5, 1]


def test_they_are_read_as_they_were_saved(tmp_path):
    made = detections_of(FOUND)
    for each in (made, detections_of([])):
        each.save(tmp_path / "detections.npz")
        read = Detections.load(tmp_path / "detections.npz")
        assert read.checksum() == each.checksum()
        assert read.boxes.shape == (len(each), 4)
    joined = Detections.concatenate([made.take(made.classes == 1), made.take(made.classes == 0)])
    assert joined.sorted().checksum() == made.sorted().checksum() != made.checksum()
    assert [path.name for path in tmp_path.iterdir()] == ["detections.npz"]
    assert torch.equal(made.take(torch.tensor([3])).images, torch.tensor([1]))


@pytest.mark.parametrize("content", [b"", b"noise", None])
def test_a_damaged_or_missing_file_is_named(content, tmp_path):
    path = tmp_path / "detections.npz"
    detections_of(FOUND).save(path)
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"detections\.npz has no detections"):
        Detections.load(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"detections\.npz has no detections"):
        Detections.load(path)
