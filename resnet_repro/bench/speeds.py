"""Sweeps over `compute` settings: these change how fast a run is, so their cases are timed."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import torch

from resnet_repro.bench.rounds import ROUNDS, time_loops
from resnet_repro.bench.variants import in_processes
from resnet_repro.engine.device import choose_device, device_name
from resnet_repro.engine.timing import one_group, random_images
from resnet_repro.errors import UserError
from resnet_repro.judge.contrasts import baselines
from resnet_repro.machine import cpu_name
from resnet_repro.plan import Plan, Row
from resnet_repro.settings.run import RunConfig
from resnet_repro.settings.sweep import value_text
from resnet_repro.text import markdown


@dataclass(frozen=True)
class SpeedLine:
    """The speed of a network with some `compute` settings.

    Attributes:
        network: The experiment's row.
        values: The value of each setting of the sweep.
        images_per_second: Training speed, median over rounds.
        slowest, fastest: The slowest and the fastest round, images per second.
        times_baseline: The speed divided by that of the baseline; None where that was not timed.
        verdict: `baseline`; `faster` or `slower` if no round overlaps with the baseline's rounds;
            otherwise `undecided`.
    """

    network: str
    values: dict[str, Any]
    images_per_second: float
    slowest: float
    fastest: float
    times_baseline: float | None
    verdict: str


@dataclass(frozen=True)
class SpeedTable:
    """The speeds of a sweep on this machine.

    Attributes:
        experiment: The experiment's name.
        swept: The settings that vary.
        date: The date of the timing.
        machine: The machine's processors.
        lines: The speed of each row and value.
    """

    experiment: str
    swept: tuple[str, ...]
    date: str
    machine: str
    lines: tuple[SpeedLine, ...]


def compare_speeds(plan: Plan) -> SpeedTable:
    """Time each selected row of a sweep over `compute` settings.

    The cases of a network take turns in one run, each in processes of its own, so that other load
    affects all of them equally. They train on random images.

    Raises:
        UserError: This machine lacks what a setting asks for.
    """
    assert plan.sweep is not None
    rows = [row for row in plan.selected_rows if row.config]
    if "compute.processes" in plan.sweep.keys and any(
        row.config.data.is_streamed for row in rows if row.config
    ):
        raise UserError(
            "compute.processes takes one value for photographs: their speed is timed in one process"
        )
    networks: dict[str, list[Row]] = {}
    for row in rows:
        networks.setdefault(row.network, []).append(row)
    by_network = baselines(plan)
    lines = [
        line for name, cases in networks.items() for line in _time(cases, by_network.get(name))
    ]
    config = rows[0].config
    assert config is not None
    device = device_name(choose_device(config.compute))
    return SpeedTable(
        experiment=plan.name,
        swept=plan.sweep.keys,
        date=datetime.now(UTC).date().isoformat(),
        machine=cpu_name() if device == "cpu" else f"{device}; {cpu_name()}",
        lines=tuple(lines),
    )


def _time(cases: list[Row], base: Row | None) -> list[SpeedLine]:
    rates = _time_cases({row.name: row.config for row in cases if row.config})
    reference = rates.get(base.name) if base else None
    return [
        SpeedLine(
            network=row.network,
            values=dict(row.point),
            images_per_second=rate.median,
            slowest=rate.slowest,
            fastest=rate.fastest,
            times_baseline=rate.median / reference.median if reference else None,
            verdict="baseline" if row is base else _verdict(rate, reference),
        )
        for row in cases
        if (rate := rates.get(row.name))  # one that does not fit into memory is named and skipped
    ]


class _Rate(NamedTuple):
    """Images per second: over all rounds, in the slowest and in the fastest one."""

    median: float
    slowest: float
    fastest: float


def _time_cases(configs: Mapping[str, RunConfig]) -> dict[str, _Rate]:
    variants, sizes = {}, {}
    with ExitStack() as stack:
        for name, config in configs.items():
            settings = one_group(config) if config.data.is_streamed else config
            images = None if config.data.is_streamed else random_images(config)
            variants[name] = in_processes(settings, images)
            sizes[name] = variants[name].number * settings.recipe.batch_size
            stack.enter_context(closing(variants[name].loop))
        loops = {name: each.loop for name, each in variants.items()}
        timings = time_loops(loops, torch.device("cpu"))  # the processes wait for their devices
    return {
        name: _Rate(*(sizes[name] / each for each in (time.seconds, time.highest, time.lowest)))
        for name, time in timings.items()
    }


def _verdict(rate: _Rate, reference: _Rate | None) -> str:
    if reference is None:
        return ""
    if rate.slowest > reference.fastest:
        return "faster"
    return "slower" if rate.fastest < reference.slowest else "undecided"


def speeds_text(table: SpeedTable) -> str:
    """Return the speeds as a table, and below it how they were measured."""
    measured = ["images/s", "slowest to fastest", "times baseline", "verdict"]
    rows = [
        [
            line.network,
            *map(value_text, line.values.values()),
            f"{line.images_per_second:,.0f}",
            f"{line.slowest:,.0f} to {line.fastest:,.0f}",
            "" if line.times_baseline is None else f"{line.times_baseline:.2f}",
            line.verdict,
        ]
        for line in table.lines
    ]
    return "\n\n".join(
        [
            markdown(["network", *table.swept, *measured], rows),
            f"{', '.join(table.swept)} changes the speed of a run and not its result, so nothing "
            f"was trained to the end: {ROUNDS} rounds, interleaved, on {table.machine}, "
            f"{table.date}. faster, slower: no round overlaps with the baseline's.",
        ]
    )
