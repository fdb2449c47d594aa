"""CUDA graphs: work that is captured once and replayed, so that the GPU never waits for Python."""

import gc
import logging
from collections.abc import Callable

import torch
from torch import Tensor

logger = logging.getLogger("resnet_repro")

# Calls before the capture: they choose algorithms, compile, and make the optimizer's state.
WARM_UP = 3


class GraphedCallable:
    """A function of tensors on the device; with CUDA graphs, each shape is captured once.

    The first calls compute as they are, on the stream that the capture uses, so no call is wasted.
    Where a capture fails, that is said, and the function goes on being called as it is.

    Args:
        function: What to call. It must not look at values, and what it changes beside its result
            (weights, sums) must be changed in place.
        captured: Whether to capture it.
        what: Its name, for messages.
    """

    def __init__(
        self, function: Callable[..., Tensor], *, captured: bool, what: str = "the loop"
    ) -> None:
        self._function, self._captures, self._what = function, captured, what
        self._stream = torch.cuda.Stream() if captured else None  # type: ignore[no-untyped-call]
        self._num_calls: dict[tuple[torch.Size, ...], int] = {}
        self._graphs: dict[tuple[torch.Size, ...], _Graph] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the function's value."""
        if not self._captures:
            return self._function(*inputs)
        shapes = tuple(each.shape for each in inputs)
        if shapes in self._graphs:
            return self._graphs[shapes](inputs)
        self._num_calls[shapes] = self._num_calls.get(shapes, 0) + 1
        current = torch.cuda.current_stream()
        if self._num_calls[shapes] > WARM_UP:
            try:
                self._graphs[shapes] = _Graph(self._function, inputs, self._stream)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._captures = False
                torch.cuda.set_stream(current)  # a capture that fails leaves its own
                reason = str(error).strip().splitlines()[0]
                logger.warning(
                    "%s could not be captured as a CUDA graph (%s); it goes on without, slower: "
                    "compute.graph=false says so from the start",
                    self._what,
                    reason,
                )
                return self._function(*inputs)
            return self._graphs[shapes](inputs)
        assert self._stream is not None
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = self._function(*inputs)
        current.wait_stream(self._stream)
        return result


class _Graph:
    """A captured call, with memory of its own for what goes in and out."""

    def __init__(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Tensor, ...],
        stream: torch.cuda.Stream | None,
    ) -> None:
        self._inputs = [each.clone() for each in inputs]
        self._graph = torch.cuda.CUDAGraph()
        collects = gc.isenabled()
        gc.disable()  # it may free another graph, which is forbidden in a capture
        try:
            with torch.cuda.graph(self._graph, stream=stream):
                self._output = function(*self._inputs)
        finally:
            if collects:
                gc.enable()

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for ours, given in zip(self._inputs, inputs, strict=True):
            ours.copy_(given)
        self._graph.replay()
        return self._output.clone()  # the next replay writes into it
