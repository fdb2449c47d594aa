"""The output of a run in training: its record, TensorBoard, a bar or plain lines, a log file."""

import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from resnet_repro.machine import Watch, busy_text, free_cores
from resnet_repro.plan import Run
from resnet_repro.records import WALL_SPEED, Record
from resnet_repro.records.headline import headline
from resnet_repro.text import duration, rate_text
from resnet_repro.visible import VisibleFormatter, visible

logger = logging.getLogger("resnet_repro")

LEAST_BAR = 5  # characters; the text next to the bar is shortened to leave room for them


def no_bars() -> bool:
    """Return whether plain lines were requested with tqdm's own variable."""
    return bool(os.environ.get("TQDM_DISABLE"))


class Log:
    """Writes the measurements of a run to all outputs; silent if the record is not written.

    Args:
        run: The run that is trained.
        record: The run's record; only the first process writes it.
        iteration: The number of iterations done before this session.
        seconds: The time spent before this session.
        clock: The clock, in seconds; a shared one for runs side by side.
        watch: The watch of other programs on the run's cores, to warn of them.
    """

    def __init__(
        self,
        run: Run,
        record: Record,
        iteration: int,
        seconds: float,
        clock: Callable[[], float] = time.perf_counter,
        watch: Watch | None = None,
    ) -> None:
        self._run, self._record, self._before = run, record, seconds
        self._iterations = run.config.recipe.iterations
        self._name = visible(f"{run.row} seed {run.seed}")
        self._clock = clock
        self._begin = self._window = clock()
        self._since = self._wall_window = time.perf_counter()
        self._first = iteration
        self._window_images = 0
        self._watch, self._fastest = watch, 0.0
        self._test_text = "-"
        self._board = (
            SummaryWriter(str(record.folder / "tensorboard"), purge_step=iteration + 1)
            if record.writes
            else None
        )
        self._bar = tqdm(
            total=self._iterations,
            initial=iteration,
            desc=self._name,
            unit="it",
            disable=None if record.writes and not no_bars() else True,  # None: on terminals only
            dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} "
            "[{elapsed}<{remaining}{postfix}]",
        )

    def __enter__(self) -> "Log":
        self._open = ExitStack()
        if self._board:
            self._open.enter_context(self._board)
        self._open.enter_context(self._bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def seconds(self) -> float:
        """Return the time spent on the run in all sessions."""
        return self._before + self._clock() - self._begin

    def step(self, num_images: int) -> None:
        """Count an iteration that is done."""
        self._window_images += num_images
        self._bar.update()

    def train(
        self, iteration: int, loss: float, num_errors: int, num_images: int, lr: float
    ) -> None:
        """Record the summed loss and the errors of the mini-batches since the last call.

        Of a detector, images are the samples that it classifies: `Task.samples` of a photograph.
        """
        now, wall = self._clock(), time.perf_counter()
        speed = self._window_images / (now - self._window)
        wall_speed = self._window_images / (wall - self._wall_window)
        self._window, self._wall_window, self._window_images = now, wall, 0
        self._warn_if_crowded(speed)
        mean_loss = loss / num_images
        error = 100 * num_errors / num_images
        self._record.append(
            "train",
            iteration,
            loss=mean_loss,
            num_errors=num_errors,
            num_images=num_images,
            lr=lr,
            images_per_second=_rounded(speed),
            # Runs side by side progress more slowly than they are computed.
            **(
                {}
                if math.isclose(wall_speed, speed, rel_tol=0.01)
                else {WALL_SPEED: _rounded(wall_speed)}
            ),
        )
        scalars = {"loss/train": mean_loss, "lr": lr, "images per second": speed}
        self._scalars(iteration, {**scalars, "error/train": error})
        training = f"training {error:.1f} %"
        texts = (
            f"training error {error:.1f} %, test {self._test_text}, {rate_text(speed)}",
            f"{training}, test {self._test_text}, {rate_text(speed)}",
            f"{training}, test {self._test_text}",
            f"test {self._test_text}",
            "",
        )
        room = shutil.get_terminal_size().columns - len(self._bar_without_text())
        self._bar.set_postfix_str(next(text for text in texts if len(text) <= max(0, room)))

    def _warn_if_crowded(self, speed: float) -> None:
        """Warn once if other programs on the cores have taken more than half of the speed."""
        if not self._watch:
            return
        self._fastest = max(self._fastest, speed)
        busy = self._watch.busy_cores()
        threads = free_cores(busy)
        if speed < self._fastest / 2 and threads < torch.get_num_threads():
            self._watch = None
            logger.warning(
                "%s: down from %.0f to %.0f images/s, as %s. Stop the other programs; or stop this "
                "run and resume it with compute.threads=%d (not bit-identical)",
                *(self._name, self._fastest, speed, busy_text(busy), threads),
            )

    def _bar_without_text(self) -> str:
        """Return a bar of the least width, without its text."""
        count = len(str(self._iterations))
        return f"{self._name}: 100%|{'#' * LEAST_BAR}| {'9' * (2 * count)}/ [00:00:00<00:00:00, ]"

    @contextmanager
    def testing(self) -> Iterator[None]:
        """Exclude the time of a test from the training speed."""
        begin, wall = self._clock(), time.perf_counter()
        yield
        self._window += self._clock() - begin
        self._wall_window += time.perf_counter() - wall

    def test(self, iteration: int, key: str, counts: Mapping[str, Any]) -> None:
        """Record a test while training, as `records.schema` has it, and its protocol's key."""
        self._record.append("test", iteration, protocol=key, **counts)
        name, value = headline(counts)
        if value is None:
            return
        self._scalars(iteration, {f"{name}/test": value})
        self._test_text = f"{value:.2f} %" if name == "error" else f"{name} {value:.2f} %"
        # Not by the run's own clock, which for runs side by side counts a share of the time.
        each = (time.perf_counter() - self._since) / max(1, iteration - self._first)
        logger.log(
            logging.INFO if self._bar.disable and self._record.writes else logging.DEBUG,
            "%s: iteration %d of %d, test %s %.2f %%, %s left",
            self._name,
            iteration,
            self._iterations,
            name,
            value,
            duration(each * (self._iterations - iteration)),
        )

    def _scalars(self, iteration: int, values: dict[str, float]) -> None:
        for tag, value in values.items():
            if self._board:
                self._board.add_scalar(tag, value, iteration)


_current: ContextVar[Record | None] = ContextVar("run", default=None)


@contextmanager
def log_file(record: Record) -> Iterator[None]:
    """Copy log messages into the run's own file, except those of runs side by side with it."""
    if not record.writes:
        yield
        return
    path = record.folder / "run.log"
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(lambda _: _current.get() is record)
    logger.addHandler(handler)
    before = _current.get()
    _current.set(record)
    try:
        yield
    finally:
        _current.set(before)
        logger.removeHandler(handler)
        handler.close()


def _rounded(speed: float) -> float:
    """Return a speed with the digits that a measurement has; a detector's is below 1 on a CPU."""
    return float(f"{speed:.4g}")
