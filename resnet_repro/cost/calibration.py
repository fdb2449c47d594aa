"""How fast this machine trains networks: timed once, for seconds, and kept.

`<results>/calibration.json` holds the speeds that were timed, by what speed depends on: the chip,
torch, the network and how it is computed, marked where the machine was busy; and, of runs that had
not begun, how long they were said to take, which tells later how far off that was.
"""

import hashlib
import json
import logging
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from resnet_repro.engine.device import choose_device, device_name, num_processes
from resnet_repro.engine.timing import images_per_second, num_timed
from resnet_repro.files import read_bytes, write_atomically
from resnet_repro.machine import Watch, cpu_name, is_crowded, num_cores
from resnet_repro.models.complexity import measure
from resnet_repro.plan import Row
from resnet_repro.records.schema import NUMBER, TEXT, check
from resnet_repro.settings.run import RunConfig
from resnet_repro.strict_json import read_json

logger = logging.getLogger("resnet_repro")

FILE, FORMAT = "calibration.json", 1
MAX_SECONDS = 25.0  # for all networks of a plan together
MIN_SECONDS = 0.7  # a timing of one takes, however small
ROUNDS = 3  # of timings, each network once
OUTLIER_RATIO = 2.0  # times what the others' multiply-adds cost: timed again
EXTRA_ROUNDS, EXTRA_SECONDS = 3, 10.0
SPEED_SETTINGS = ("deterministic", "channels_last", "graph", "compile", "recompute")  # of compute


def chip(config: RunConfig) -> str:
    """Return what a run is computed on here: the GPU, or the CPU and its threads; how many."""
    device, processes = choose_device(config.compute), num_processes(config)
    threads = torch.get_num_threads()
    if processes > 1 and config.compute.threads is None:
        threads = max(1, num_cores() // processes)  # their shares of the cores
    return _chip(device_name(device), cpu_name(), threads, processes)


def chip_of(sessions: list[dict[str, Any]]) -> str | None:
    """Return what a recorded run was computed on; None where that changed on the way."""
    names = ("device", "cpu", "threads", "processes")
    chips = {_chip(*(session.get(name) for name in names)) for session in sessions}
    return chips.pop() if len(chips) == 1 else None


def _chip(device: Any, cpu: Any, threads: Any, processes: Any) -> str:  # noqa: ANN401
    name = f"{cpu}, threads: {threads}" if device == "cpu" else str(device)
    return name if processes == 1 else f"{processes} x {name}"


def network_key(config: RunConfig) -> str:
    """Return what tells one speed from another: rows that differ in the recipe only share it."""
    recipe, compute = config.recipe, asdict(config.compute)
    parts = {
        "chip": chip(config),
        "torch": torch.__version__,
        "model": asdict(config.model),
        "images": [config.data.image_size, config.data.is_streamed],
        "recipe": [recipe.batch_size, recipe.bn_batch, recipe.precision],
        "compute": [compute[way] for way in SPEED_SETTINGS],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def multiply_adds(row: Row) -> int:
    """Return those of a row's network, for one image."""
    if row.exact and row.is_network_as_shipped:  # counting the largest networks takes seconds
        return row.exact.multiply_adds
    assert row.config is not None
    return measure(row.config).multiply_adds


class Calibration:
    """The file of what was timed and what was said; damaged, it is as good as none.

    Args:
        results: The output root.

    Attributes:
        speeds: By `network_key`: `chip`, `torch`, `network` and `images_per_second`; `busy` where
            the machine was: timed again by the next plan.
        estimates: By the digest of a run: `chip` and `seconds`, said before it began.
    """

    def __init__(self, results: Path) -> None:
        self._path, self._text = results / FILE, ""
        self.speeds: dict[str, dict[str, Any]] = {}
        self.estimates: dict[str, dict[str, Any]] = {}
        try:
            read = read_bytes(self._path)
            if read is None:
                return
            content, self._text = read_json(read), read.decode()
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            _check(content["speeds"], "images_per_second")
            _check(content["estimates"], "seconds")
            self.speeds, self.estimates = content["speeds"], content["estimates"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s is damaged: networks are timed anew", self._path)

    def save(self) -> None:
        """Write the file, if there is something new."""
        content = {"format": FORMAT, "speeds": self.speeds, "estimates": self.estimates}
        text = json.dumps(content, indent=1) + "\n"
        if text == self._text or not (self.speeds or self.estimates):
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, text)
        except OSError as error:  # a plan is worth as much without it
            logger.warning("%s: %s: the next plan times anew", self._path, error.strerror)

    def time_networks(self, rows: Mapping[str, Row], known: Mapping[int, float]) -> None:
        """Time networks, the smallest first, as far as `MAX_SECONDS` go; keep the fastest times.

        They are timed in rounds: what else the machine does for a while slows one timing of many
        networks, not all timings of one. One that costs much more than the others for its size is
        timed again.

        Args:
            rows: A row of each network, by `network_key`.
            known: Images per second of other networks, by their multiply-adds: they tell
                beforehand how long one takes.
        """
        sizes = {key: multiply_adds(row) for key, row in rows.items()}
        took: dict[str, float] = {}
        order = sorted(rows, key=lambda key: sizes[key])
        speeds, begin = dict(known), time.monotonic()
        for number in range(ROUNDS + EXTRA_ROUNDS):
            most = MAX_SECONDS if number < ROUNDS else MAX_SECONDS + EXTRA_SECONDS
            costs = {key: _cost(sizes[key], self.speeds[key]["images_per_second"]) for key in took}
            for key in list(order):
                others = [cost for other, cost in costs.items() if other != key]
                others += [_cost(*each) for each in known.items() if each[0] != sizes[key]]
                if number >= ROUNDS and not (key in took and _is_outlier(costs[key], others)):
                    continue
                config = rows[key].config
                assert config is not None
                if speeds:
                    takes = num_timed(config) / scaled(speeds, sizes[key])
                    takes = took.get(key, max(MIN_SECONDS, takes))
                    if time.monotonic() - begin + takes > most:
                        continue
                started = time.monotonic()
                try:
                    self._time(key, rows[key].name, config, again=key in took)
                except torch.OutOfMemoryError:
                    if not speeds:
                        raise
                    order.remove(key)
                    continue
                took[key] = time.monotonic() - started
                speeds[sizes[key]] = self.speeds[key]["images_per_second"]
        torch.cuda.empty_cache()  # runs may follow in this process, and others beside it

    def _time(self, key: str, name: str, config: RunConfig, again: bool) -> None:
        """Time a network, and keep it where it is the fastest time.

        A time is `busy` where other programs took cores from each timing of this plan.
        """
        watch = Watch()
        speed = round(images_per_second(config), 2)
        threads = torch.get_num_threads() if choose_device(config.compute).type == "cpu" else 1
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
    """Return the seconds of a multiply-add."""
    return 1 / (size * speed)


def _is_outlier(cost: float, others: list[float]) -> bool:
    return bool(others) and cost > OUTLIER_RATIO * statistics.median(others)


def scaled(speeds: Mapping[int, float], size: int) -> float:
    """Return the speed of a network from that of the nearest one, by their multiply-adds.

    Args:
        speeds: Images per second by multiply-adds; at least one.
        size: Multiply-adds.
    """
    nearest = min(speeds, key=lambda each: abs(math.log(each / size)))
    return speeds[nearest] * nearest / size


def _check(entries: dict[str, dict[str, Any]], number: str) -> None:
    """Raise an error unless every entry has a number above 0, and a chip."""
    for entry in entries.values():
        check(entry, {number: NUMBER, "chip": TEXT})
        if not entry[number]:
            raise ValueError(entry)
