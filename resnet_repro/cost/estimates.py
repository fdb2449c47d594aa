"""Estimates of how long a plan's runs take on this machine, and how accurate they were."""

import math
import statistics
from contextlib import suppress
from dataclasses import dataclass, replace

from resnet_repro.cost.calibration import (
    Calibration,
    TimedNetwork,
    chip,
    chip_of,
    network_key,
    scaled,
)
from resnet_repro.cost.forward_work import (
    TEST_COST,
    last_test,
    preparation,
    protocol_test,
    quick_test,
)
from resnet_repro.cost.sizes import measure
from resnet_repro.engine.device import choose_device, num_processes
from resnet_repro.plan import Ensemble, Plan, Row, Run
from resnet_repro.records import WALL_SPEED, Record
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.runs import recorded_seeds, run_folder, run_state
from resnet_repro.settings.run import RunConfig
from resnet_repro.text import count

MIN_SECONDS = 5.0  # shorter runs are mostly start-up, which the estimates do not include


@dataclass(frozen=True)
class Speed:
    """The training speed of a network on this machine.

    Attributes:
        images_per_second: Training images per second, without tests.
        is_scaled: Whether the speed was scaled from another network by multiply-adds; otherwise it
            was timed, or measured by runs of the network.
        was_busy: Whether other programs slowed every timing of the network.
    """

    images_per_second: float
    is_scaled: bool = False
    was_busy: bool = False


class Estimates:
    """Estimated durations of the runs of a plan's selected rows, and of the runs they need.

    Estimates for runs that have not started are saved, to check their accuracy later.

    Args:
        plan: The experiment.

    Attributes:
        speeds: Training speed of each network, by `network_key`.
        accuracy: Accuracy of earlier estimates in words; empty where it is unknown.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        calibration = Calibration(plan.results)
        self.accuracy = _accuracy(plan, calibration)
        self._keys: dict[str, str] = {}
        self.speeds = _speeds(plan, calibration)
        for run in _runs(plan):
            if run_state(run, plan.results).state == "waiting":
                seconds = round(self._training(run, 0), 1)
                calibration.estimates[run.digest] = {"chip": chip(run.config), "seconds": seconds}
        calibration.save()

    def speed(self, run: Run) -> Speed:
        """Return the training speed of a run's network."""
        if run.digest not in self._keys:
            self._keys[run.digest] = network_key(run.config)
        return self.speeds[self._keys[run.digest]]

    def seconds_left(self, run: Run) -> float:
        """Return the seconds that a run of a selected row still takes, including its tests."""
        found = run_state(run, self._plan.results)
        if found.is_done:
            return 0.0
        last = self._forward(run, last_test(run.config))
        if found.is_trained:
            return last
        return self._training(run, found.iteration or 0) + last

    def seconds_of_test(self, run: Run) -> float:
        """Return the seconds of a run's test alone, where another row trains the network."""
        is_done = run_state(run, self._plan.results).is_done
        return 0.0 if is_done else self._forward(run, protocol_test(run.config))

    def seconds_of_ensemble(self, ensemble: Ensemble) -> float:
        """Return the seconds of an ensemble's test; 0 if it was tested."""
        with suppress(DamagedError):
            record = Record(run_folder(ensemble, self._plan.results))
            if ensemble.evaluation.key in record.evaluations():
                return 0.0
        members = ensemble.needs
        test, times = ensemble.evaluation, 1
        # Each member classifies the proposals of all.
        if members[0].config.detector.localises:
            times = len(members)
        elif members[0].config.detector.is_used:
            test = replace(test, num_proposals=len(members) * test.num_proposals)
        work = (protocol_test(replace(run.config, evaluation=test)) for run in members)
        pairs = zip(members, work, strict=True)
        return sum(self._forward(run, times * each) for run, each in pairs)

    def _forward(self, run: Run, work: float) -> float:
        """Return the seconds of some forward work, in training images."""
        return TEST_COST * work / self.speed(run).images_per_second

    def _training(self, run: Run, done: int) -> float:
        """Return the seconds from an iteration to the end, including the tests on the way.

        A detector that has not started also needs proposals, or batch norm's statistics.
        """
        recipe, every = run.config.recipe, run.config.evaluation.every
        num_tests = math.ceil(recipe.iterations / every) - done // every
        images = (recipe.iterations - done) * recipe.batch_size
        forward = num_tests * quick_test(run.config) + (0 if done else preparation(run))
        return (images + TEST_COST * forward) / self.speed(run).images_per_second


def rows_to_estimate(plan: Plan) -> list[Row]:
    """Return the selected rows, and the rows of which an ensemble needs runs."""
    names = {*plan.selected, *(run.row for run in plan.runs)}
    return [row for row in plan.rows if row.name in names and row.config]


def num_gpus(config: RunConfig) -> int:
    """Return how many GPUs a run uses here; 0 if it runs on the CPU."""
    on_cpu = choose_device(config.compute).type == "cpu"
    return 0 if on_cpu else num_processes(config)


def _runs(plan: Plan) -> list[Run]:
    """Return the runs to estimate: those of the rows, and of the steps before them."""
    rows = rows_to_estimate(plan)
    found = [row.run(seed) for row in rows for seed in row.seeds]
    return list({run.digest: run for run in [*found, *plan.runs]}.values())


def _networks(plan: Plan) -> tuple[dict[str, TimedNetwork], dict[str, list[float]]]:
    """Return the networks of the selected rows and their steps, and their recorded speeds.

    Both by `network_key`; the speeds are those of all seeds that ran here.
    """
    networks: dict[str, TimedNetwork] = {}
    recorded: dict[str, list[float]] = {}
    rows = rows_to_estimate(plan)
    for row in rows:
        assert row.config is not None
        key = network_key(row.config)
        networks.setdefault(key, TimedNetwork(row.name, row.config, _multiply_adds(row)))
        runs = [row.run(seed) for seed in recorded_seeds(row, plan.results)]
        recorded.setdefault(key, []).extend(_recorded(plan, runs))
    own = {row.name for row in rows}
    for run in plan.runs:
        if run.row in own:
            continue
        key = network_key(run.config)
        if key not in networks:
            networks[key] = TimedNetwork(run.row, run.config, measure(run.config).multiply_adds)
        recorded.setdefault(key, []).extend(_recorded(plan, [run]))
    return networks, recorded


def _multiply_adds(row: Row) -> int:
    """Return the multiply-adds of a row's network for one image."""
    if row.exact and row.exact.multiply_adds and row.is_network_as_shipped:
        return row.exact.multiply_adds  # counting the largest networks takes seconds
    assert row.config is not None
    return measure(row.config).multiply_adds


def _speeds(plan: Plan, calibration: Calibration) -> dict[str, Speed]:
    """Return the speed of each network: recorded here, otherwise timed, otherwise scaled."""
    networks, recorded = _networks(plan)
    wanted = list(networks)
    known = {key: statistics.median(values) for key, values in recorded.items() if values}
    if not known and networks.keys().isdisjoint(calibration.speeds):
        # Time a small network first, to predict how long a large one takes.
        others = [
            TimedNetwork(row.name, row.config, _multiply_adds(row))
            for row in plan.rows
            if row.config
        ]
        # A selected row, if two are the smallest.
        smallest = min([*networks.values(), *others], key=lambda each: each.timing)
        networks.setdefault(network_key(smallest.config), smallest)
    sizes = {key: each.multiply_adds for key, each in networks.items()}

    not_recorded = networks.keys() - known.keys()

    def add_timed() -> None:
        for key in not_recorded & calibration.speeds.keys():
            known[key] = calibration.speeds[key]["images_per_second"]

    def busy() -> set[str]:
        timed = not_recorded & calibration.speeds.keys()
        return {key for key in timed if "busy" in calibration.speeds[key]}

    def by_size(precision: str) -> dict[int, float]:
        """Return the known speeds of a precision, or of all where none of it is known."""
        own = {k: v for k, v in known.items() if networks[k].config.recipe.precision == precision}
        return {sizes[key]: speed for key, speed in (own or known).items()}

    add_timed()
    missing = {key: each for key, each in networks.items() if key not in known or key in busy()}
    for precision in dict.fromkeys(each.config.recipe.precision for each in missing.values()):
        alike = {k: v for k, v in missing.items() if v.config.recipe.precision == precision}
        calibration.time_networks(alike, by_size(precision))
        add_timed()
    return {
        key: Speed(known[key], was_busy=key in busy())
        if key in known
        else Speed(
            scaled(by_size(networks[key].config.recipe.precision), sizes[key]), is_scaled=True
        )
        for key in wanted
    }


def _recorded(plan: Plan, runs: list[Run]) -> list[float]:
    """Return the images per second that were recorded by some runs on this hardware.

    Those of a run beside others on one device are left out: they all have the mean of their speeds.
    """
    values = []
    for run in runs:
        folder = run_folder(run, plan.results)
        if not folder.is_dir():
            continue
        record = Record(folder)
        with suppress(DamagedError):
            if chip_of(record.environment()) == chip(run.config):
                values += [
                    event["images_per_second"]
                    for event in record.events()
                    if event["event"] == "train" and WALL_SPEED not in event
                ]
    return [value for value in values if value]


def _accuracy(plan: Plan, calibration: Calibration) -> str:
    """Return how the estimates for runs of any experiment compare with their actual times."""
    here = {chip(row.config) for row in rows_to_estimate(plan) if row.config}
    folders = {path.name[-8:]: path for path in (plan.results / "runs").glob("*-seed*-*")}
    ratios = []
    for digest, estimate in calibration.estimates.items():
        if digest not in folders or estimate["chip"] not in here:
            continue
        record = Record(folders[digest])
        with suppress(DamagedError):
            end = record.last() or {"event": "none"}
            if WALL_SPEED in (record.last("train") or {}):  # the time of all runs on the device
                continue
            took = end["seconds"] if end["event"] == "finished" else 0.0
            if took >= MIN_SECONDS and chip_of(record.environment()) == estimate["chip"]:
                ratios.append(estimate["seconds"] / took)
    if not ratios:
        return ""
    low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
    factors = f"{low}x" if low == high else f"{low}x to {high}x"
    return f"Past estimates: {factors} of the actual time ({count(len(ratios), 'run')})."
