"""The training speed of networks on this machine: measured once, for seconds, and cached.

`<results>/calibration.json` has the measured speeds for each combination of chip, torch version,
network and compute settings, with a mark if the machine was busy. It also has the estimated
duration of runs that had not started, to report later how accurate the estimates were.
"""

import copy
import hashlib
import json
import logging
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from resnet_repro.engine.device import (
    choose_device,
    device_name,
    num_processes,
    num_threads,
)
from resnet_repro.engine.timing import images_per_second, num_timed, one_group
from resnet_repro.errors import shortage
from resnet_repro.files import exclusive_lock, read_bytes, write_atomically
from resnet_repro.machine import Watch, cpu_name, is_crowded, num_cores
from resnet_repro.records.schema import NUMBER, TEXT, check
from resnet_repro.settings.run import RunConfig
from resnet_repro.strict_json import read_json

logger = logging.getLogger("resnet_repro")

FILE, FORMAT = "calibration.json", 1
# What the file has, and the number in each entry.
PARTS = {
    "speeds": "images_per_second",
    "estimates": "seconds",
    "side_by_side": "gain",
    "channels_last": "gain",
}
MAX_SECONDS = 25.0  # time limit for all networks of a plan together
MIN_SECONDS = 0.7  # the shortest time that one timing takes
ROUNDS = 3  # each round times each network once
OUTLIER_RATIO = 2.0  # time per multiply-add, relative to the median: above it, time again
EXTRA_ROUNDS, EXTRA_SECONDS = 3, 10.0
# The settings of `compute` on which speed depends.
SPEED_SETTINGS = (
    "deterministic",
    "channels_last",
    "graph",
    "compile",
    "recompute",
    "accumulate",
    "fused",
)
# And those of `detector`.
OF_DETECTORS = (
    "step",
    "frozen",
    "anchors",
    "sampled_anchors",
    "num_proposals",
    "sampled_regions",
    "context",
)


@dataclass(frozen=True)
class TimedNetwork:
    """What is timed.

    Attributes:
        name: The row that it is of, or the step of one.
        config: The settings of a run.
        multiply_adds: For one image, forward.
    """

    name: str
    config: RunConfig
    multiply_adds: int

    @property
    def timing(self) -> int:
        """Multiply-adds of the shortest timing, by which networks are ordered."""
        return num_timed(self.config) * self.multiply_adds


def chip(config: RunConfig) -> str:
    """Return the hardware of a run here: the GPU, or the CPU with its threads, and how many."""
    device, processes = choose_device(config.compute), num_processes(config)
    threads = num_threads(config.compute)
    if processes > 1 and config.compute.threads is None:
        threads = max(1, num_cores() // processes)  # the share of each process
    return _chip(device_name(device), cpu_name(), threads, processes)


def chip_of(sessions: list[dict[str, Any]]) -> str | None:
    """Return the hardware of a recorded run; None where its sessions used different hardware."""
    names = ("device", "cpu", "threads", "processes")
    chips = {_chip(*(session.get(name) for name in names)) for session in sessions}
    return chips.pop() if len(chips) == 1 else None


def _chip(device: Any, cpu: Any, threads: Any, processes: Any) -> str:  # noqa: ANN401
    name = f"{cpu}, threads: {threads}" if device == "cpu" else str(device)
    if device == "mps":  # the name of every Mac's
        name = f"{cpu}, {device}"
    return name if processes == 1 else f"{processes} x {name}"


def network_key(config: RunConfig) -> str:
    """Return a hash of all that speed depends on; rows that differ in other settings share it."""
    recipe, compute = config.recipe, asdict(config.compute)
    parts: dict[str, Any] = {
        "chip": chip(config),
        "torch": torch.__version__,
        "model": asdict(config.model),
        "images": [config.data.image_size, config.data.is_streamed],
        "recipe": [recipe.batch_size, recipe.bn_batch, recipe.precision],
        "compute": [compute[key] for key in SPEED_SETTINGS],
    }
    if config.detector.is_used:  # timed on one photograph, whatever the mini-batch, or on some
        some = [one_group(config).recipe.batch_size] if config.detector.localises else []
        parts["recipe"] = [recipe.precision, *some] if some else recipe.precision
        parts["detector"] = {k: v for k, v in asdict(config.detector).items() if k in OF_DETECTORS}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Calibration:
    """The file of measured speeds and past estimates; a damaged file counts as empty.

    Args:
        results: The output root.

    Attributes:
        speeds: Measured speeds by `network_key`: `chip`, `torch`, `network`, `images_per_second`,
            and `busy` if the machine was busy; those are measured again by the next plan.
        estimates: Estimates by the digest of a run: `chip` and `seconds`, made before it started.
        side_by_side: Speeds of several processes over that of one, by `network_key`, their number
            and whether each has its own run: `chip` and `gain`.
        channels_last: Speeds of channels-last maps over that of contiguous ones, by `network_key`:
            `chip` and `gain`.
    """

    def __init__(self, results: Path) -> None:
        self._path = results / FILE
        self._parts = _read(self._path)
        self._before = copy.deepcopy(self._parts)
        self.speeds, self.estimates, self.side_by_side, self.channels_last = self._parts.values()

    def save(self) -> None:
        """Write what is new, beside what other processes have written meanwhile."""
        if self._parts == self._before:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(self._path.with_name(f".{FILE}.lock")):
                now = _read(self._path)
                for name, own in self._parts.items():
                    before = self._before[name]
                    now[name] |= {key: own[key] for key in own if own[key] != before.get(key)}
                    for key in before.keys() - own.keys():
                        now[name].pop(key, None)
                text = json.dumps({"format": FORMAT, **now}, indent=1) + "\n"
                write_atomically(self._path, text)
        except OSError as error:  # the plan does not need the file
            logger.warning("%s: %s: the next plan times again", self._path, error.strerror)

    def is_channels_last(self, config: RunConfig) -> bool | None:
        """Return whether a run's maps were timed as faster channels-last; None: not timed, or set.

        Args:
            config: The run's settings.
        """
        if config.compute.channels_last is not None:
            return None
        timed = self.channels_last.get(network_key(config))
        return None if timed is None else bool(timed["gain"] >= 1)

    def time_networks(
        self, networks: Mapping[str, TimedNetwork], known: Mapping[int, float]
    ) -> None:
        """Time networks within `MAX_SECONDS`, the smallest first, and keep the fastest times.

        Each round times every network once, so that a busy moment slows one timing of several
        networks, not all timings of one. A network that is much slower than others for its size is
        timed again.

        Args:
            networks: The networks, by `network_key`.
            known: Images per second of other networks, by their multiply-adds, from which the
                duration of a timing is predicted.
        """
        sizes = {key: each.multiply_adds for key, each in networks.items()}
        took: dict[str, float] = {}
        order = sorted(networks, key=lambda key: networks[key].timing)
        speeds, begin = dict(known), time.monotonic()
        for number in range(ROUNDS + EXTRA_ROUNDS):
            most = MAX_SECONDS if number < ROUNDS else MAX_SECONDS + EXTRA_SECONDS
            costs = {key: _cost(sizes[key], self.speeds[key]["images_per_second"]) for key in took}
            for key in list(order):
                others = [cost for other, cost in costs.items() if other != key]
                others += [_cost(*each) for each in known.items() if each[0] != sizes[key]]
                if number >= ROUNDS and not (key in took and _is_outlier(costs[key], others)):
                    continue
                config = networks[key].config
                if speeds:
                    takes = num_timed(config) / scaled(speeds, sizes[key])
                    takes = took.get(key, max(MIN_SECONDS, takes))
                    if time.monotonic() - begin + takes > most:
                        continue
                started = time.monotonic()
                try:
                    self._time(key, networks[key].name, config, again=key in took)
                except RuntimeError as error:
                    if not speeds or not shortage(error):
                        raise
                    order.remove(key)
                    continue
                took[key] = time.monotonic() - started
                speeds[sizes[key]] = self.speeds[key]["images_per_second"]
        torch.cuda.empty_cache()  # runs may follow, in this process and in others on the GPU

    def _time(self, key: str, name: str, config: RunConfig, again: bool) -> None:
        """Time a network, and keep its speed if it is the fastest so far.

        The speed is marked `busy` if other programs used the cores during every timing of this
        plan.
        """
        watch = Watch()
        faster = self.is_channels_last(config)  # as the run will take it
        timed = config if faster is None else config.with_compute(channels_last=faster)
        measured = images_per_second(timed)
        speed = round(measured, 2 if measured >= 1 else 5)  # a detector's is below 1 on a CPU
        on_cpu = choose_device(config.compute).type == "cpu"
        threads = num_threads(config.compute) if on_cpu else 1
        busy = is_crowded(watch.busy_cores(), threads)
        before = self.speeds.get(key, {"images_per_second": 0.0})
        if again:
            busy = busy and "busy" in before
        self.speeds[key] = {
            "chip": chip(config),
            "torch": torch.__version__,
            "network": name,
            "images_per_second": max(speed, before["images_per_second"]),
            **({"busy": True} if busy else {}),
        }


def _cost(size: int, speed: float) -> float:
    """Return the seconds per multiply-add."""
    return 1 / (size * speed)


def _is_outlier(cost: float, others: list[float]) -> bool:
    return bool(others) and cost > OUTLIER_RATIO * statistics.median(others)


def scaled(speeds: Mapping[int, float], size: int) -> float:
    """Return the speed of a network, scaled from the network with the nearest multiply-adds.

    Args:
        speeds: Images per second by multiply-adds; at least one.
        size: The network's multiply-adds.
    """
    nearest = min(speeds, key=lambda each: abs(math.log(each / size)))
    return speeds[nearest] * nearest / size


def _read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the parts of the file, empty where there is none or it is damaged."""
    parts: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in PARTS}
    try:
        read = read_bytes(path)
        if read is not None:
            content = read_json(read)
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            for name, number in PARTS.items():
                parts[name] = content.get(name, {})
                _check(parts[name], number)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        logger.warning("%s is damaged: networks are timed again", path)
        return {name: {} for name in PARTS}
    return parts


def _check(entries: dict[str, dict[str, Any]], number: str) -> None:
    """Raise an error unless every entry has a chip and a number above 0."""
    for entry in entries.values():
        check(entry, {number: NUMBER, "chip": TEXT})
        if not entry[number]:
            raise ValueError(entry)
