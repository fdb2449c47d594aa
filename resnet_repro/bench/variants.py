"""The variants of training a network that `bench` compares."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch

from resnet_repro.bench.baseline import baseline_loop
from resnet_repro.bench.workers import Workers
from resnet_repro.data.images import Images
from resnet_repro.distributed.group import Group
from resnet_repro.distributed.joining import join_here, leave, listen
from resnet_repro.engine.device import (
    choose_device,
    most_processes,
    num_processes,
    num_threads,
)
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.groups import OVERHEAD
from resnet_repro.engine.interleave import Loop, interleave
from resnet_repro.engine.timing import network_loop, training_loop
from resnet_repro.errors import UserError
from resnet_repro.machine import num_cores
from resnet_repro.models.complexity import training_bytes
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

BASELINE = "usual loop"  # as in the published measurements
SIDE_BY_SIDE = (2, 4, 8)
SEGMENT = 8  # blocks per recomputed segment


@dataclass
class Variant:
    """A variant of training: one iteration of `loop` is one iteration of `number` networks."""

    loop: Loop | Workers
    number: int = 1


def make_baseline(plain: RunConfig, images: Images, available: int | None) -> Variant | None:
    """Return the baseline loop, ready to start; None if memory does not suffice for it.

    It is in fp32 whatever the precision of the settings.

    Args:
        plain: The settings, with the default `compute` options.
        images: The training images.
        available: The memory, bytes, before anything is trained; None if unknown.
    """
    if not _fits_in_memory(plain, 0, available):
        return None
    baseline = plain.with_compute(threads=num_threads(plain.compute))
    return Variant(Workers(baseline_loop, [(baseline, images)], choose_device(plain.compute)))


def make_variants(
    plain: RunConfig, images: Images | None, available: int | None
) -> dict[str, Variant]:
    """Return our variants of a precision, ready to start.

    Args:
        plain: The settings, with the default `compute` options.
        images: The training images; None: a mini-batch of noise.
        available: The memory, bytes, before anything is trained; None if unknown.
    """
    precision, device = plain.recipe.precision, choose_device(plain.compute)
    chosen = choose_execution(plain)
    variants: dict[str, Variant] = {}
    variants[f"{precision}, {chosen.describe()}"] = Variant(_training_loop(plain, images))
    other = "without" if chosen.channels_last else "with"
    options: dict[str, dict[str, Any]] = {
        f"{other} channels_last": {"channels_last": not chosen.channels_last}
    }
    if chosen.kernels:
        options["without fused"] = {"fused": False}
    if plain.recipe.bn_batch and not chosen.accumulate:
        options["with accumulate"] = {"accumulate": True}
    if isinstance(plain.model, ModelConfig) and plain.model.has_blocks:
        options[f"with recompute={SEGMENT}"] = {"recompute": SEGMENT}
    if chosen.graph:
        options["without graph"] = {"graph": False}
    for what, option in options.items():
        loop = _training_loop(plain.with_compute(**option), images)
        variants[f"{precision}, {what}"] = Variant(loop)
    try:
        compiled = _training_loop(plain.with_compute(compile=True), images)
    except UserError as error:
        logger.warning("%s", error)
    else:
        variants[f"{precision}, with compile"] = Variant(compiled)
    for number in SIDE_BY_SIDE:
        if device.type == "cuda":
            works = [_training_loop(plain, images) for _ in range(number)]
            variants[f"{precision}, {number} runs on streams"] = Variant(
                interleave(works, device), number
            )
        elif number > num_cores() or not _fits_in_memory(plain, number, available):
            break
        shares = [(_with_share_of_threads(plain, number), images)] * number
        workers = Workers(_training_loop, shares, device)
        variants[f"{precision}, {number} runs in processes"] = Variant(workers, number)
    most = {"cuda": torch.cuda.device_count(), "cpu": num_cores()}.get(device.type, 1)
    number = most_processes(plain, most)
    if number > 1 and images is not None and _fits_in_memory(plain, number, available):
        each = _with_share_of_threads(plain, number)
        variants[f"{precision}, 1 run by {number} processes"] = _divided(each, images, number)
    return variants


def in_processes(config: RunConfig, images: Images | None) -> Variant:
    """Return the training of a run as `run` would do it, in processes of its own.

    That is one process; several for `compute.processes`; or several runs side by side, for
    `compute.runs_per_gpu`: on a CPU in processes, on a GPU in one.

    Args:
        config: The settings.
        images: The training images; None: a mini-batch of noise.
    """
    device, size = choose_device(config.compute), num_processes(config)
    number = size if size > 1 and images is not None else config.compute.runs_per_gpu or 1
    if device.type == "cpu" and number > 1 and not config.compute.threads:
        config = config.with_compute(threads=max(1, num_cores() // number))
    if size > 1 and images is not None:
        return _divided(config, images, size)
    if device.type == "cuda" and number > 1:
        work = Workers(_loops_side_by_side, [(config, images, number)], device)
        return Variant(work, number)
    return Variant(Workers(_training_loop, [(config, images)] * number, device), number)


def _divided(config: RunConfig, images: Images, size: int) -> Variant:
    """Return the training of one run by several processes."""
    store, port = listen()
    groups = [Group(rank, size, rank, size) for rank in range(size)]
    each = [(config, images, group, port) for group in groups]
    return Variant(Workers(_distributed_loop, each, choose_device(config.compute), store))


def _fits_in_memory(config: RunConfig, number: int, available: int | None) -> bool:
    """Return whether memory suffices for `number` processes, the baseline loop and this process.

    Estimated on a CPU only; a GPU raises an error when its memory is full.
    """
    if choose_device(config.compute).type == "cuda" or available is None:
        return True
    whole = replace(config, recipe=replace(config.recipe, bn_batch=None, precision="fp32"))
    wanted = training_bytes(whole) + (1 + number) * training_bytes(config)
    if OVERHEAD * wanted <= available:
        return True
    logger.warning(
        "%s: skipped: not enough memory for %.0f GiB in total; a smaller "
        "recipe.batch_size needs less",
        f"{number} processes" if number else BASELINE,
        OVERHEAD * wanted / 2**30,
    )
    return False


def _with_share_of_threads(config: RunConfig, number: int) -> RunConfig:
    return config.with_compute(threads=max(1, num_threads(config.compute) // number))


def _training_loop(config: RunConfig, images: Images | None) -> Loop:
    execution = choose_execution(config)
    if images is None:
        return network_loop(config, execution)
    return training_loop(config, execution, images)


def _loops_side_by_side(config: RunConfig, images: Images | None, number: int) -> Loop:
    works = [_training_loop(config, images) for _ in range(number)]
    return interleave(works, choose_device(config.compute))


def _distributed_loop(config: RunConfig, images: Images, group: Group, port: int) -> Loop:
    """Training loop of one process of a group that trains one network."""
    join_here(group, port)
    try:
        yield from training_loop(config, choose_execution(config, group), images, group)
    finally:
        leave()
