"""The captured loop: what it replays, and what it does where it cannot be."""

import gc
import weakref
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from resnet_repro.engine import cuda_graph
from resnet_repro.engine.cuda_graph import WARM_UP, GraphedCallable
from resnet_repro.engine.evaluate import Classifier
from resnet_repro.engine.execution import choose_execution
from resnet_repro.models import build_model
from tests.support.runs import changed
from tests.support.training import EAGER, GPU, alike, losses


def test_a_finished_runs_graphs_do_not_wait_for_the_garbage_collector(config):
    """It could come in the middle of another run's capture, which that would break."""
    classifier = Classifier(build_model(config.model).eval(), EAGER)
    classifier(torch.zeros(2, 3, 16, 16))
    model = weakref.ref(classifier.model)
    gc.disable()
    try:
        del classifier
        assert model() is None
    finally:
        gc.enable()


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_the_captured_loop_gives_the_eager_loops_losses(config, precision):
    """Learning rates change in the middle, which a captured step must follow."""
    config = changed(config, model={"depth": 20}, recipe={"precision": precision})
    how = choose_execution(changed(config, compute={"device": "cuda", "deterministic": True}))
    assert how.graph
    eager = losses(config, replace(how, graph=False), 50)
    alike(losses(config, how, 50, captured=True), eager, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_blocks_in_a_captured_loop_give_the_eager_loops_losses(config, precision):
    config = changed(config, model={"depth": 20}, recipe={"precision": precision})
    how = choose_execution(changed(config, compute={"device": "cuda", "compile": True}))
    eager = losses(config, replace(how, graph=False, compiled=False), 50, lr=0.001)
    tolerance = {"fp32": 1e-3, "bf16": 5e-2}[precision]
    compiled = losses(config, how, 50, lr=0.001, captured=True)
    torch.testing.assert_close(compiled[0], eager[0], atol=tolerance, rtol=tolerance)


class FakeGraph:
    """A CUDA graph where there is no GPU: `replay` calls again what was called in the capture."""

    fails = ()  # the error of a captured call, and that of the end of the capture
    replays = 0

    def replay(self):
        FakeGraph.replays += 1
        self.output.copy_(self.function(*self.inputs))


@pytest.fixture
def fake_cuda(monkeypatch):
    """Stand in for the parts of torch.cuda that a capture uses."""

    @contextmanager
    def graph(graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"  # or other threads' calls end the capture
        if not FakeGraph.fails:
            yield
            return
        try:
            raise FakeGraph.fails[0]
        finally:
            for error in FakeGraph.fails[1:]:
                raise error

    monkeypatch.setattr(FakeGraph, "replays", 0)
    monkeypatch.setattr(FakeGraph, "fails", ())
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "current_stream": lambda: stream,
        "stream": lambda stream: nullcontext(),
        "set_stream": lambda stream: None,
        "CUDAGraph": FakeGraph,
        "graph": graph,
    }.items():
        monkeypatch.setattr(f"resnet_repro.engine.cuda_graph.torch.cuda.{name}", value)
    real = cuda_graph._Graph.__init__

    def init(self, function, inputs, stream):
        real(self, function, inputs, stream)
        self._graph.function, self._graph.inputs = function, self._inputs
        self._graph.output = self._output

    monkeypatch.setattr(cuda_graph._Graph, "__init__", init)
    return stream


def test_a_replay_goes_by_its_inputs_and_keeps_what_it_returned(fake_cuda):
    """Each shape is captured once, after it was warmed up; results are not overwritten."""
    double = GraphedCallable(lambda x: 2 * x, fake_cuda)
    inputs = [torch.full((size,), float(number)) for size in (2, 3) for number in range(7)]
    outputs = [double(each) for each in inputs]
    for given, got in zip(inputs, outputs, strict=True):
        torch.testing.assert_close(got, 2 * given)
    assert FakeGraph.replays == 2 * (7 - WARM_UP)


ENDED = RuntimeError("operation failed due to a previous error during capture")


@pytest.mark.parametrize("ended", [(), (ENDED,)])
def test_a_capture_that_fails_says_why_and_goes_on(fake_cuda, monkeypatch, caplog, ended):
    cause = RuntimeError("operation not permitted when stream is capturing\nmore")
    monkeypatch.setattr(FakeGraph, "fails", (cause, *ended))
    monkeypatch.setattr(cuda_graph.logger, "propagate", True)
    double = GraphedCallable(lambda x: 2 * x, fake_cuda)
    outputs = [double(torch.tensor(float(number))) for number in range(9)]
    assert [each.item() for each in outputs] == [2.0 * number for number in range(9)]
    assert len({id(record) for record in caplog.records}) == 1, "it is said once"
    assert "could not be captured as a CUDA graph (operation not permitted" in caplog.text
    assert "compute.graph=false" in caplog.text


def test_memory_that_was_full_in_a_capture_is_free_after_it(fake_cuda, monkeypatch):
    """Without waiting for Python's collector; torch's end of a capture fails with it."""

    class Capture:
        is_under_way = False

        def __init__(self, *_, **__): ...

        def __enter__(self):
            Capture.is_under_way = True

        def __exit__(self, *its_error):
            raise RuntimeError("operation failed due to a previous error during capture")

    def work():
        network = torch.nn.Linear(1, 1)

        def double(x):
            if Capture.is_under_way:
                raise torch.OutOfMemoryError("12 GiB")
            return network(x)

        graphed = GraphedCallable(double, fake_cuda)
        with suppress(torch.OutOfMemoryError):
            for _ in range(WARM_UP + 1):
                graphed(torch.ones(1))
        return weakref.ref(network)

    monkeypatch.setattr(cuda_graph.torch.cuda, "graph", Capture)
    gc.disable()
    try:
        assert work()() is None
    finally:
        gc.enable()


def test_memory_that_is_full_in_a_capture_is_said_to_be_full(fake_cuda, monkeypatch):
    monkeypatch.setattr(FakeGraph, "fails", (torch.OutOfMemoryError("12 GiB"), ENDED))
    double = GraphedCallable(lambda x: 2 * x, fake_cuda)
    for _ in range(WARM_UP):
        double(torch.ones(2))
    with pytest.raises(torch.OutOfMemoryError, match="12 GiB"):
        double(torch.ones(2))
