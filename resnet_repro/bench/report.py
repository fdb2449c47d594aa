"""Measurements of `bench` as tables and JSON, added to earlier ones."""

import json
import logging
import re
from contextlib import closing
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from resnet_repro.bench.roofline import Rates
from resnet_repro.bench.rows import VariantResult, bench_row
from resnet_repro.engine.device import choose_device, device_name, num_threads
from resnet_repro.engine.execution import available_precisions
from resnet_repro.errors import UserError
from resnet_repro.files import read_bytes, write_atomically
from resnet_repro.machine import cpu_name
from resnet_repro.plan import Row
from resnet_repro.strict_json import read_json
from resnet_repro.text import markdown

logger = logging.getLogger("resnet_repro")

BENCHMARKS = Path("results/benchmarks")  # output folder of `bench` and scripts/benchmark_*
TRAINING = "training-"  # prefix of the files of `bench`
Measurement = dict[str, Any]  # of one call: machine, date, the chip's rates, one line per variant


def bench(
    experiment: str, rows: list[Row], folder: Path, *, own_precision: bool = False
) -> Measurement:
    """Time every variant of training the rows' networks, and add the results to the chip's file.

    The file is written after each precision of a row. Earlier measurements of the same rows and
    precisions on the same machine are replaced.

    Args:
        experiment: The experiment's name, and the arguments that change its settings.
        rows: The experiment's rows, with settings.
        folder: The folder of `training-<chip>.json` and `.md`.
        own_precision: Whether to time each row at its own precision only; else at all that the
            device has.

    Returns:
        The measurement of this call.

    Raises:
        UserError: The chip's file is not one of `bench`, or the device lacks a row's precision.
    """
    config = rows[0].config
    assert config is not None
    device = choose_device(config.compute)
    chip = device_name(device)
    path = folder / file_name(TRAINING, chip)
    read(path)  # fail before measuring, which takes minutes
    rates: dict[str, Rates] = {}
    made: Measurement = {
        "experiment": experiment,
        "date": datetime.now(UTC).date().isoformat(),
        "device": chip,
        "cpu": cpu_name(),
        "threads": num_threads(config.compute),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
        "cuda": torch.version.cuda if chip != "cpu" else None,
        "rates": {},
        "lines": [],
    }
    for row in rows:
        assert row.config is not None
        own = [row.config.recipe.precision]
        precisions = own if own_precision else available_precisions(device)
        logger.info("%s, %s ...", row.name, " and ".join(precisions))
        with closing(bench_row(row.name, row.config, precisions, rates)) as parts:
            for lines in parts:  # of a precision each, which takes minutes
                made["lines"] += [asdict(line) for line in lines]
                made["rates"] = {precision: asdict(each) for precision, each in rates.items()}
                add(path, made)
    return made


def file_name(kind: str, chip: str) -> str:
    """Return the name of a chip's file of measurements: `training-cpu.json`."""
    return f"{kind}{re.sub(r'[^a-z0-9]+', '-', chip.lower()).strip('-')}.json"


def read(path: Path) -> list[Measurement]:
    """Return the measurements in a file.

    Raises:
        UserError: The file holds something else.
    """
    try:
        content = read_bytes(path)
        found = [] if content is None else list(read_json(content)["measurements"])
        needed = {each.name for each in fields(VariantResult)}
        if all(needed <= {*line} for each in found for line in each["lines"]):
            return found
        raise KeyError("lines")
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{path} holds no measurements of `bench`: move or delete it") from None


def add(path: Path, made: Measurement) -> None:
    """Add a measurement to a file, replacing those of the same rows, precisions and machine."""
    _write(path, [*without(read(path), made), made])


def without(before: list[Measurement], made: Measurement) -> list[Measurement]:
    """Return the earlier measurements without those that a new one replaces."""
    timed = {_what(line) for line in made["lines"]}
    kept = []
    for each in before:
        lines = each["lines"]
        if all(each[name] == made[name] for name in ("experiment", "device", "cpu")):
            lines = [line for line in lines if _what(line) not in timed]
        if lines:
            kept.append({**each, "lines": lines})
    return kept


def _what(line: dict[str, Any]) -> tuple[str, str]:
    """Return a line's row and its precision, with which its variant's name begins."""
    return line["row"], line["variant"].partition(",")[0]


def _write(path: Path, measurements: list[Measurement]) -> None:
    tables = [f"## {each['experiment']}\n\n{render(each)}\n" for each in measurements]
    write_benchmark(path, {"measurements": measurements}, "\n".join([*tables, ABOUT + "\n"]))


def write_benchmark(path: Path, content: dict[str, Any], text: str) -> None:
    """Write a measurement as JSON, and as text in the Markdown file next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    write_atomically(path.with_suffix(".md"), text)


ABOUT = """\
Lower bound: the larger of arithmetic time and minimal memory traffic time at the measured peak
rates. Times are medians of interleaved rounds (fastest to slowest); for several networks at once,
the time of an iteration divided by their number. Usual loop, the baseline: torchvision transforms
in loader processes, fp32 with torch's defaults (on CUDA, TF32 convolutions), loss and errors read
in each iteration, batch norm over the whole mini-batch. It is timed again in the rounds of each
precision, of which the first are shown: a speedup is over the baseline in its own rounds."""


def render(made: Measurement) -> str:
    """Return a measurement as a Markdown table, followed by a description of the machine."""
    with_memory = any(line["timing"]["memory"] for line in made["lines"])
    header = ["row", "variant", "images/s", "ms/iteration", "speedup"]
    header += ["lower bound ms", "bound/time"]
    cells = []
    for line in made["lines"]:
        timing = line["timing"]
        seconds = timing["seconds"]
        spread = f"{1e3 * timing['lowest']:.1f} to {1e3 * timing['highest']:.1f}"
        memory = f"{timing['memory'] / 2**20:,.0f}" if timing["memory"] else ""
        cells.append(
            [
                line["row"],
                line["variant"],
                f"{line['batch_size'] / seconds:,.{0 if seconds < 1 else 1}f}",
                f"{1e3 * seconds:.1f} ({spread})",
                "" if line["speedup"] is None else f"{line['speedup']:.2f}",
                f"{1e3 * line['lower_bound']:.1f} {line['bound']}",
                f"{line['lower_bound'] / seconds:.0%}",
                f"{timing['first']:.1f}",
                *([memory] if with_memory else []),
            ]
        )
    header += ["first s", *(["MiB"] if with_memory else [])]
    ceilings = ", ".join(
        f"{precision} {each['operations'] / 1e9:,.0f} GFLOP/s"
        for precision, each in made["rates"].items()
    )
    bandwidth = max(each["bandwidth"] for each in made["rates"].values()) / 1e9
    machine = made["cpu"] if made["device"] == "cpu" else f"{made['device']}; {made['cpu']}"
    return "\n".join(
        [
            markdown(header, cells),
            "",
            f"{made['date']}, {machine}, {made['threads']} threads, torch {made['torch']}, "
            f"torchvision {made['torchvision']}. Measured peak rates: {ceilings}, copy "
            f"{bandwidth:,.1f} GB/s.",
        ]
    )
