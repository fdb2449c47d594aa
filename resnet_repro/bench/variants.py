"""The ways to train a network that the bench times beside each other."""

import logging
from dataclasses import dataclass, replace

import torch

from resnet_repro.bench.baseline import usual_loop
from resnet_repro.bench.rounds import with_ways
from resnet_repro.bench.workers import Workers
from resnet_repro.data.images import Images
from resnet_repro.distributed.group import Group, free_port, join, leave
from resnet_repro.engine.device import choose_device, most_processes
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.interleave import Work, together
from resnet_repro.engine.timing import network_loop, our_loop
from resnet_repro.errors import UserError
from resnet_repro.machine import available_bytes, num_cores
from resnet_repro.models.complexity import training_bytes
from resnet_repro.settings.run import RunConfig

logger = logging.getLogger("resnet_repro")

USUAL = "usual loop"
SIDE_BY_SIDE = (2, 4, 8)
OVERHEAD = 1.25  # of what training takes over what is counted: 1.2 at ResNet-1202 on a CPU
SEGMENT = 8  # blocks that are computed again together


@dataclass
class Way:
    """A way to train: `number` networks at once, of which an iteration trains each once."""

    loop: Work | Workers
    number: int = 1


def make_ways(plain: RunConfig, images: Images | None) -> dict[str, Way]:
    """Return the loops of a precision, each ready to begin.

    Args:
        plain: The settings; of the ways to compute, those that are chosen by themselves.
        images: To train on; without, a mini-batch of noise.
    """
    precision, device = plain.recipe.precision, choose_device(plain.compute)
    chosen = choose_execution(plain)
    ways: dict[str, Way] = {}
    if images is not None and _has_room(plain, 0):
        usual = with_ways(plain, threads=torch.get_num_threads())
        ways[USUAL] = Way(Workers(usual_loop, [(usual, images)], device))
    ways[f"{precision}, {chosen.describe()}"] = Way(_ours(plain, images))
    other = "without" if chosen.channels_last else "with"
    flipped = with_ways(plain, channels_last=not chosen.channels_last)
    ways[f"{precision}, {other} channels_last"] = Way(_ours(flipped, images))
    segments = with_ways(plain, recompute=SEGMENT)
    ways[f"{precision}, with recompute={SEGMENT}"] = Way(_ours(segments, images))
    if chosen.graph:
        ways[f"{precision}, without graph"] = Way(_ours(with_ways(plain, graph=False), images))
    try:
        compiled = _ours(with_ways(plain, compile=True), images)
    except UserError as error:
        logger.warning("%s", error)
    else:
        ways[f"{precision}, with compile"] = Way(compiled)
    for number in SIDE_BY_SIDE:
        if device.type == "cuda":
            works = [_ours(plain, images) for _ in range(number)]
            ways[f"{precision}, {number} runs on streams"] = Way(together(works, device), number)
        elif number > num_cores() or not _has_room(plain, number):
            break
        each = (_with_share_of_threads(plain, number), images)
        apart = Workers(_ours, [each] * number, device)
        ways[f"{precision}, {number} runs in processes"] = Way(apart, number)
    most = {"cuda": torch.cuda.device_count(), "cpu": num_cores()}.get(device.type, 1)
    number = most_processes(plain, most) if plain.recipe.bn_batch else 1
    if number > 1 and images is not None and _has_room(plain, number):
        part, port = _with_share_of_threads(plain, number), free_port()
        groups = [Group(rank, number, rank, number) for rank in range(number)]
        apart = Workers(_shared, [(part, images, group, port) for group in groups], device)
        ways[f"{precision}, 1 run by {number} processes"] = Way(apart)
    return ways


def _has_room(config: RunConfig, number: int) -> bool:
    """Return whether memory is enough for so many processes, the usual loop and this process.

    On a CPU; a GPU says itself what it lacks.
    """
    available = available_bytes()
    if choose_device(config.compute).type == "cuda" or available is None:
        return True
    whole = replace(config, recipe=replace(config.recipe, bn_batch=None))
    wanted = training_bytes(whole) + (1 + number) * training_bytes(config)
    if OVERHEAD * wanted <= available:
        return True
    logger.warning(
        "%s: left out, for want of memory: %.0f GiB beside each other; a smaller "
        "recipe.batch_size takes less",
        f"{number} processes" if number else USUAL,
        OVERHEAD * wanted / 2**30,
    )
    return False


def _with_share_of_threads(config: RunConfig, number: int) -> RunConfig:
    return with_ways(config, threads=max(1, torch.get_num_threads() // number))


def _ours(config: RunConfig, images: Images | None) -> Work:
    execution = choose_execution(config)
    if images is None:
        return network_loop(config, execution)
    return our_loop(config, execution, images)


def _shared(config: RunConfig, images: Images, group: Group, port: int) -> Work:
    """Be one of the processes that train a network together."""
    join(group, "127.0.0.1", port)
    try:
        yield from our_loop(config, choose_execution(config, group), images, group)
    finally:
        leave()
