"""The order of images in training."""

from collections import Counter

import torch

from tests.support.sets import order


def test_an_epoch_shows_every_image_once_and_batches_run_across_its_end():
    batches = order(10, 4)
    row = torch.cat([batches[i][0] for i in range(5)])  # 20 images: two epochs
    assert row[:10].sort().values.tolist() == row[10:].sort().values.tolist() == list(range(10))
    assert row[:10].tolist() != row[10:].tolist()


def test_a_batch_depends_on_seed_and_iteration_alone():
    one_after_the_other = order(50, 16)
    seen = [one_after_the_other[i] for i in range(12)]
    at_once = order(50, 16)[11]
    assert all(torch.equal(a, b) for a, b in zip(seen[11], at_once, strict=True))
    assert not torch.equal(order(50, 16, seed=1)[11][0], at_once[0])


def test_a_batch_may_be_larger_than_the_set():
    counts = Counter(order(3, 8)[0][0].tolist())
    assert sorted(counts.values()) == [2, 3, 3]
