"""How large a group, and how many runs, fit a device."""

from types import SimpleNamespace

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
    assert fitting.best_runs_per_gpu(long, 30) == (3, None)
    assert fitting.best_runs_per_gpu(long, 2) == (2, 2)
    per_second[4] = 300.0
    assert fitting.best_runs_per_gpu(long, 30) == (4, None)
    short = changed(config, recipe={"iterations": 100})
    assert fitting.best_runs_per_gpu(short, 30) == (1, None)
    per_second.clear()
    monkeypatch.setattr(fitting, "interleave", lambda works, device: full())
    assert fitting.best_runs_per_gpu(long, 30) == (1, 30), "the run itself says it"


def test_what_was_measured_for_other_runs_is_not_taken_for_these(config, monkeypatch):
    asked = []

    def best_runs_per_gpu(config, most):
        asked.append((config.recipe.iterations, most))
        return (min(most, 8), most if most <= 8 else None)

    monkeypatch.setattr(fitting, "best_runs_per_gpu", best_runs_per_gpu)
    monkeypatch.setattr(fitting, "_measured", {})
    monkeypatch.setattr(fitting, "choose_execution", lambda _: SimpleNamespace(graph=True))
    short, long = (changed(config, recipe={"iterations": each}) for each in (100, 64_000))
    wanted = [(short, 4), (long, 4), (long, 2), (long, 20), (long, 30), (short, 3)]
    parts = [fitting.gpu_fraction(each, number) for each, number in wanted]
    assert parts == [1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 4]
    assert asked == [(100, 4), (64_000, 4), (64_000, 20)]


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
