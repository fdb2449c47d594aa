"""Estimates of how long a plan's runs take on this machine, and how accurate they were."""

import math
import statistics
from contextlib import suppress
from dataclasses import dataclass

from resnet_repro.cost.calibration import (
    Calibration,
    chip,
    chip_of,
    multiply_adds,
    network_key,
    scaled,
)
from resnet_repro.engine.device import choose_device, num_processes
from resnet_repro.plan import Plan, Row, Run
from resnet_repro.records import DamagedError, Record
from resnet_repro.records.runs import recorded_seeds, run_folder, run_state
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.run import RunConfig
from resnet_repro.text import count

TEST_COST = 1 / 3  # time of a test image relative to a training image: no backward pass
NUM_TEST = {"cifar10": 10_000, "cifar100": 10_000}
IMAGENET_TEST = 50  # test images of each class
MIN_SECONDS = 5.0  # shorter runs are mostly start-up, which the estimates do not include


@dataclass(frozen=True)
class Speed:
    """The training speed of a row's network on this machine.

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
    """Estimated durations of the runs of a plan's selected rows.

    Estimates for runs that have not started are saved, to check their accuracy later.

    Args:
        plan: The experiment.

    Attributes:
        speeds: Training speed of each row, by the row's name.
        accuracy: Accuracy of earlier estimates in words; empty where it is unknown.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        calibration = Calibration(plan.results)
        self.accuracy = _accuracy(plan, calibration)
        rows = selected_rows(plan)
        self.speeds = _speeds(plan, rows, calibration)
        for row in rows:
            assert row.config is not None
            for run in map(row.run, row.seeds):
                if run_state(run, plan.results).state == "waiting":
                    seconds = round(self._training(run, 0), 1)
                    calibration.estimates[run.digest] = {
                        "chip": chip(row.config),
                        "seconds": seconds,
                    }
        calibration.save()

    def seconds_left(self, run: Run) -> float:
        """Return the seconds that a run of a selected row still takes, including its tests."""
        found = run_state(run, self._plan.results)
        if found.is_done:
            return 0.0
        speed = self.speeds[run.row].images_per_second
        last_test = TEST_COST * _last_test_images(run.config) / speed
        if found.is_trained:
            return last_test
        return self._training(run, found.iteration or 0) + last_test

    def _training(self, run: Run, done: int) -> float:
        """Return the seconds from an iteration to the end, including the tests on the way."""
        recipe, every = run.config.recipe, run.config.evaluation.every
        num_tests = math.ceil(recipe.iterations / every) - done // every
        images = (recipe.iterations - done) * recipe.batch_size
        images_tested = num_tests * num_test_images(run.config.data)
        return (images + TEST_COST * images_tested) / self.speeds[run.row].images_per_second


def selected_rows(plan: Plan) -> list[Row]:
    """Return the selected rows, and the rows of which an ensemble needs runs."""
    names = {*plan.selected, *(run.row for run in plan.runs)}
    return [row for row in plan.rows if row.name in names and row.config]


def num_gpus(config: RunConfig) -> int:
    """Return how many GPUs a run uses here; 0 if it runs on the CPU."""
    on_cpu = choose_device(config.compute).type == "cpu"
    return 0 if on_cpu else num_processes(config)


def num_test_images(data: DataConfig) -> int:
    """Return the number of test images; 0 if it is unknown without reading them."""
    if data.num_validation:
        return data.num_validation
    if data.generate:
        return data.generate.num_test
    return IMAGENET_TEST * data.num_classes if data.is_streamed else NUM_TEST.get(data.name, 0)


def _last_test_images(config: RunConfig) -> float:
    """Return the images of the final test, if its protocol differs from that while training."""
    evaluation = config.evaluation
    if evaluation.key == config.quick_test().key:
        return 0
    views = 10.0 if evaluation.protocol == "ten_crop" else 1.0
    if evaluation.protocol == "multi_scale":  # whole images count as crops of the same area
        views = sum((size / evaluation.crop) ** 2 for size in evaluation.sizes)
    if evaluation.flip and evaluation.protocol != "ten_crop":
        views *= 2
    averaged = evaluation.batch_norm_images if evaluation.batch_norm == "reestimated" else 0
    return views * num_test_images(config.data) + averaged


def _speeds(plan: Plan, rows: list[Row], calibration: Calibration) -> dict[str, Speed]:
    """Return the speed of each row: recorded here, otherwise timed, otherwise scaled."""
    keys = {row.name: network_key(row.config) for row in rows if row.config}
    networks: dict[str, Row] = {}
    recorded: dict[str, list[float]] = {}
    for row in rows:
        networks.setdefault(keys[row.name], row)
        recorded.setdefault(keys[row.name], []).extend(_recorded(plan, row))
    known = {key: statistics.median(values) for key, values in recorded.items() if values}
    if not known and networks.keys().isdisjoint(calibration.speeds):
        # Time a small network first, to predict how long a large one takes.
        trained = [*networks.values(), *(row for row in plan.rows if row.config)]
        smallest = min(trained, key=multiply_adds)  # a selected row, if two are the smallest
        assert smallest.config is not None
        networks.setdefault(network_key(smallest.config), smallest)
    sizes = {key: multiply_adds(row) for key, row in networks.items()}

    not_recorded = networks.keys() - known.keys()

    def add_timed() -> None:
        for key in not_recorded & calibration.speeds.keys():
            known[key] = calibration.speeds[key]["images_per_second"]

    def busy() -> set[str]:
        timed = not_recorded & calibration.speeds.keys()
        return {key for key in timed if "busy" in calibration.speeds[key]}

    def by_size() -> dict[int, float]:
        return {sizes[key]: speed for key, speed in known.items()}

    add_timed()
    missing = {key: row for key, row in networks.items() if key not in known or key in busy()}
    calibration.time_networks(missing, by_size())
    add_timed()
    return {
        row: Speed(known[key], was_busy=key in busy())
        if key in known
        else Speed(scaled(by_size(), sizes[key]), is_scaled=True)
        for row, key in keys.items()
    }


def _recorded(plan: Plan, row: Row) -> list[float]:
    """Return the images per second that were recorded by a row's runs on this hardware."""
    assert row.config is not None
    here, values = chip(row.config), []
    for seed in recorded_seeds(row, plan.results):
        record = Record(run_folder(row.run(seed), plan.results))
        with suppress(DamagedError):
            if chip_of(record.environment()) == here:
                values += [e["images_per_second"] for e in record.events() if e["event"] == "train"]
    return values


def _accuracy(plan: Plan, calibration: Calibration) -> str:
    """Return how the estimates for runs of any experiment compare with their actual times."""
    here = {chip(row.config) for row in selected_rows(plan) if row.config}
    folders = {path.name[-8:]: path for path in (plan.results / "runs").glob("*-seed*-*")}
    ratios = []
    for digest, estimate in calibration.estimates.items():
        if digest not in folders or estimate["chip"] not in here:
            continue
        record = Record(folders[digest])
        with suppress(DamagedError):
            end = record.last() or {"event": "none"}
            took = end["seconds"] if end["event"] == "finished" else 0.0
            if took >= MIN_SECONDS and chip_of(record.environment()) == estimate["chip"]:
                ratios.append(estimate["seconds"] / took)
    if not ratios:
        return ""
    low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
    factors = f"{low}x" if low == high else f"{low}x to {high}x"
    return f"Past estimates: {factors} of the actual time ({count(len(ratios), 'run')})."
