"""CUDA graphs: an iteration is captured once and replayed, so that the GPU does not wait for us."""

import gc
import logging
from collections.abc import Callable

import torch
from torch import Tensor

logger = logging.getLogger("resnet_repro")

# Calls before the capture: they choose algorithms, compile, and create the optimizer's state.
WARM_UP = 3


class GraphedCallable:
    """A function of tensors on the device; with CUDA graphs, each shape is captured once.

    The first calls run eagerly, on the stream of the capture, and count like any other. If a
    capture fails, a warning is logged, and all further calls run eagerly.

    Args:
        function: The function. It must not read values, and must change its state (weights, sums)
            in place.
        stream: The stream on which to capture it (`streams.capture_stream`); None runs it eagerly.
        what: The function's name in messages.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        stream: torch.cuda.Stream | None,
        what: str = "the loop",
    ) -> None:
        self._function, self._stream, self._what = function, stream, what
        self._num_calls: dict[tuple[torch.Size, ...], int] = {}
        self._graphs: dict[tuple[torch.Size, ...], _Graph] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the function's value."""
        if self._stream is None:
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
                torch.cuda.set_stream(current)  # a failed capture leaves its own stream set
                # The end of a capture that failed fails too, and does not know why. (A name for
                # the cause would keep this frame, and all memory in it, until it is collected; so
                # would torch's frame of the end, which has the cause among its arguments.)
                if isinstance(error.__context__, torch.OutOfMemoryError):
                    error.__traceback__ = None
                    raise error.__context__ from None
                self._stream = None
                reason = _first_line(error.__context__ or error)
                logger.warning(
                    "%s could not be captured as a CUDA graph (%s); continuing without it "
                    "(slower); set compute.graph=false to silence this",
                    self._what,
                    reason,
                )
                return self._function(*inputs)
            return self._graphs[shapes](inputs)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = self._function(*inputs)
        current.wait_stream(self._stream)
        return result


class _Graph:
    """A captured call, with its own memory for inputs and output."""

    def __init__(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Tensor, ...],
        stream: torch.cuda.Stream,
    ) -> None:
        self._inputs = [each.clone() for each in inputs]
        self._graph = torch.cuda.CUDAGraph()
        collects = gc.isenabled()
        gc.disable()  # it may free another graph, which is not allowed during a capture
        try:
            # Other threads, such as the one that pins photographs' memory, go on meanwhile.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._output = function(*self._inputs)
        finally:
            if collects:
                gc.enable()

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for ours, given in zip(self._inputs, inputs, strict=True):
            ours.copy_(given)
        self._graph.replay()
        return self._output.clone()  # the next replay overwrites it


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
