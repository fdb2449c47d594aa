"""Training of one run, from its first iteration to its last: read `train_stepwise` first."""

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from resnet_repro.data import Inputs
from resnet_repro.data.order import digest_seed
from resnet_repro.distributed.flags import SharedFlags
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine import checkpoint, environment
from resnet_repro.engine.averages import averaged
from resnet_repro.engine.classification import Counts
from resnet_repro.engine.cuda_graph import GraphedCallable
from resnet_repro.engine.device import synchronize
from resnet_repro.engine.energy import Meter
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.log import Log, log_file
from resnet_repro.engine.optim import build_optimizer, set_learning_rate
from resnet_repro.engine.resume import Progress, as_before, check_state, resume
from resnet_repro.engine.session import check_not_lost, check_same, locked, start_session
from resnet_repro.engine.signals import Stop, stop_signals
from resnet_repro.engine.state import OngoingRun
from resnet_repro.engine.streams import capture_stream
from resnet_repro.engine.tasks import make_task
from resnet_repro.errors import StoppedRun
from resnet_repro.machine import Watch
from resnet_repro.plan import Run
from resnet_repro.records import Record

logger = logging.getLogger("resnet_repro")


def train(run: Run, folder: Path, group: Group = SINGLE_PROCESS) -> None:
    """Train one network on its own; see `train_stepwise`."""
    with stop_signals(group.stop) as stop:
        for _ in train_stepwise(run, folder, group, stop):
            pass


def train_stepwise(
    run: Run,
    folder: Path,
    group: Group,
    stop: Stop,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[None]:
    """Train one network and record it: resume from its checkpoint, return if it is finished.

    It yields after each iteration, so that several runs can be interleaved: the device computes one
    while Python works on another.

    Args:
        run: The run to train.
        folder: The run's folder, for everything that it writes.
        group: The processes that train the run; each of them calls this.
        stop: Whether a stop was requested.
        clock: The clock of the run's time, in seconds.

    Raises:
        UserError: The settings, the data or the device do not allow the run.
        records.errors.MissingWeightsError: The run was saved, and its checkpoint is missing here.
        StoppedRun: One of `process.SIGNALS` arrived; the run is saved.
        records.errors.LockedError: Another process is training the run.
    """
    config, recipe = run.config, run.config.recipe
    record, name = Record(folder, writes=group.is_main), f"{run.row} seed {run.seed}"
    with locked(record, group), log_file(record):
        if group.broadcast(record.state()) == "finished":
            return

        # Network and optimizer. Weights are initialised on the CPU: the same for every device.
        compute = as_before(config.compute, record, group)
        execution = choose_execution(replace(config, compute=compute), group)
        # The first process decides, by the memory that it sees, so that all compute alike.
        execution = replace(execution, accumulate=group.broadcast(execution.accumulate))
        task = make_task(run, folder, execution, group, stop)
        _seed(run.seed)
        model = execution.prepare(task.build()).train()
        optimizer = build_optimizer(model, recipe, config.detector.bias_lr)
        found = checkpoint.restore(
            folder,
            run.id,
            lambda content: check_state(content, model, recipe.iterations, optimizer),
            moves_damaged=group.is_main,
        )
        check_same(record, found["progress"]["iteration"] if found else None, group)
        started = clock()
        if found is None:
            check_not_lost(record)
            task.start(model)
        preparing = clock() - started  # a detector's proposals and batch norm may take hours

        # Data: this process's share of it, on the device.
        data = task.load()
        _stop_if(group.all_reduce_any(stop.is_set())[0], f"{name}: stopped before it started")
        if group.is_main:
            start_session(record, run, environment.describe(execution, data, group))
        inputs = Inputs(**found["inputs"]) if found else None
        feed = task.feed(data, inputs)
        feed.unreadable.update(found["unreadable"] if found else [])

        progress, schedule = resume(found, model, optimizer, group)
        resumed, found = found is not None, None  # else its weights would stay in memory
        if resumed and group.is_main:
            logger.info("%s: resuming from iteration %d", folder.name, progress.iteration)
        record.rewind(progress.iteration)
        started = clock()
        step, quick = task.step(model, feed, optimizer), config.quick_test()
        progress.seconds += preparing + clock() - started
        draws_numbers = task.draws_numbers
        # A checkpoint may hold a loss that is nan: stop where an uninterrupted run would.
        is_due = _is_due(progress.iteration, config.compute.log_every, recipe.iterations)
        diverged = group.broadcast(_why_diverged(progress) if is_due else None)
        saved_at = time.monotonic()
        counts: Counts = {}
        meter = Meter(execution.device, group.size, clock, progress.joules)
        state = OngoingRun(
            run, record, group, task, model, optimizer, feed, progress, schedule, meter
        )
        # Whether no other process of this run uses the cores.
        alone = execution.device.type == "cpu" and group.size == 1 and not config.data.is_streamed
        watch = Watch() if alone else None

        # Counted in iterations, as in the papers.
        with (
            capture_stream(execution.device, execution.graph) as stream,
            closing(feed.batches(progress.iteration, recipe.iterations)) as batches,
            Log(run, record, progress.iteration, progress.seconds, clock, watch) as log,
        ):
            iterate = GraphedCallable(lambda *batch: step(*feed.to_inputs(*batch)), stream)
            test = task.tester(model, feed, stream)
            flags, lr = SharedFlags(group), math.nan

            def measure() -> None:
                nonlocal counts
                synchronize(execution.device)  # what is queued counts as training
                with log.testing(), averaged(model, group):
                    counts = test()
                log.test(progress.iteration, quick.key, counts)

            def is_test_due() -> bool:
                return _is_due(progress.iteration, config.evaluation.every, recipe.iterations)

            if resumed and not diverged and is_test_due():
                last = record.last_test() if group.is_main else None
                if group.broadcast(last) != progress.iteration:  # it was stopped meanwhile
                    measure()
            while progress.iteration < recipe.iterations and not diverged:
                before, lr = lr, schedule.learning_rate(progress.iteration, recipe)
                if lr != before:
                    set_learning_rate(optimizer, lr)
                if draws_numbers:  # they depend on seed and iteration only, as all random numbers
                    _seed(digest_seed(run.seed, group.rank, progress.iteration))
                totals = iterate(*next(batches))
                progress.iteration += 1
                progress.num_images += recipe.batch_size * task.samples
                progress.totals += totals
                change = schedule.observe(progress.iteration, recipe, totals[1], group)
                if change:
                    record.append(change[0], progress.iteration, **change[1])
                log.step(recipe.batch_size)

                if _is_due(progress.iteration, config.compute.log_every, recipe.iterations):
                    loss, num_errors = group.all_reduce_sum(
                        progress.totals
                    ).tolist()  # synchronises with the device
                    diverged = _why_diverged(progress)
                    if diverged:
                        break
                    log.train(progress.iteration, loss, round(num_errors), progress.num_images, lr)
                    progress.totals.zero_()
                    progress.num_images = 0
                if is_test_due():
                    try:
                        measure()
                    except StoppedRun:  # a detector's test may take an hour
                        progress.seconds = log.seconds()
                        state.save()
                        raise

                progress.seconds = log.seconds()
                if progress.iteration < recipe.iterations:
                    late = time.monotonic() - saved_at >= 60 * config.compute.save_minutes
                    stopping, due = flags.exchange(stop.is_set(), late)
                    if stopping or due:
                        state.save()
                        saved_at = time.monotonic()
                    at = f"iteration {progress.iteration} of {recipe.iterations}"
                    _stop_if(stopping, f"{name}: saved at {at}; run the same command to resume")
                yield

        state.finish(counts, diverged)
        _stop_if(
            group.all_reduce_any(stop.is_set())[0],
            f"{name} is finished; stopped before the next run",
        )


def _seed(number: int) -> None:
    """Seed all generators that a network can draw from."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def _stop_if(condition: bool, message: str) -> None:
    if condition:
        raise StoppedRun(message)


def _why_diverged(progress: Progress) -> str | None:
    """Return why a run has diverged, if it has; also for one killed before it recorded that."""
    loss = progress.totals[0].item()
    if math.isfinite(loss):
        return None
    return f"the loss became {loss} by iteration {progress.iteration}"


def _is_due(iteration: int, every: int, last: int) -> bool:
    return iteration % every == 0 or iteration == last
