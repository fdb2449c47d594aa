"""How large a group, and how many runs, fit a device."""

import torch

from resnet_repro.bench import variants
from resnet_repro.bench.workers import Workers
from resnet_repro.engine import execution, fitting, timing
from resnet_repro.models.complexity import training_bytes
from tests.support.runs import changed


def test_the_largest_group_that_fits_is_found_by_trying(config, monkeypatch):
    tried = []

    def network_loop(part, execution):
        tried.append(part.recipe.batch_size)
        while True:
            if part.recipe.batch_size > 12:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield

    monkeypatch.setattr(fitting, "network_loop", network_loop)
    config = changed(config, recipe={"batch_size": 64, "bn_batch": 64})
    assert fitting.largest_bn_batch(config) == 8
    assert tried == [32, 16, 8]


def full():
    raise torch.OutOfMemoryError("CUDA out of memory")
    yield


def test_as_many_runs_as_train_fastest_together(config, monkeypatch):
    """Two at once are twice as fast, three little faster than two; six do not fit."""
    per_second = {1: 100.0, 2: 200.0, 3: 230.0, 4: 231.0}

    def interleave(works, device):
        if len(works) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        while True:
            yield len(works)

    def iterate(loop, number, device):
        works = next(loop)
        return works / per_second[works]

    monkeypatch.setattr(fitting, "interleave", interleave)
    monkeypatch.setattr(fitting, "iterate", iterate)
    long = changed(config, recipe={"iterations": 64_000})
    assert fitting.best_runs_per_gpu(long, 30) == 3
    assert fitting.best_runs_per_gpu(long, 2) == 2
    per_second[4] = 300.0
    assert fitting.best_runs_per_gpu(long, 30) == 4
    assert fitting.best_runs_per_gpu(changed(config, recipe={"iterations": 100}), 30) == 1
    per_second.clear()
    monkeypatch.setattr(fitting, "interleave", lambda works, device: full())
    assert fitting.best_runs_per_gpu(long, 30) == 1, "the run itself says that memory is full"


def test_on_a_cpu_memory_is_counted_before_it_is_taken(config, monkeypatch, caplog):
    monkeypatch.setattr(execution, "_try_compiler", lambda device: None)
    monkeypatch.setattr(variants, "num_cores", lambda: 2)
    available = 2 * training_bytes(config)
    config = changed(config, recipe={"bn_batch": config.recipe.batch_size // 2})
    images = timing.random_images(config, 10)
    assert variants.make_baseline(config, images, available) is None
    made = variants.make_variants(config, images, available)
    assert [name for name, way in made.items() if isinstance(way.loop, Workers)] == []
    assert "usual loop: skipped: not enough memory" in caplog.text
    assert "2 processes: skipped: not enough memory" in caplog.text
