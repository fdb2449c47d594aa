"""The bench's lines as a table and as JSON."""

import json
import logging
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from resnet_repro.engine.bench import Line, bench_row
from resnet_repro.engine.device import choose_device
from resnet_repro.engine.environment import cpu_name, device_name
from resnet_repro.engine.floor import Rates
from resnet_repro.plan import Row
from resnet_repro.records import write_atomically
from resnet_repro.report.text import markdown

logger = logging.getLogger("resnet_repro")


def bench(rows: list[Row], folder: Path) -> tuple[str, str]:
    """Time every way to train the rows' networks; write what came out.

    Args:
        rows: With settings.
        folder: Where `training-<chip>.json` and `.md` go.

    Returns:
        The table, and the JSON.
    """
    rates: dict[str, Rates] = {}
    lines: list[Line] = []
    config = rows[0].config
    assert config is not None
    chip = device_name(choose_device(config.compute))
    for row in rows:
        assert row.config is not None
        logger.info("%s ...", row.name)
        lines += bench_row(row.name, row.config, rates)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": chip,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
        "cuda": torch.version.cuda if chip != "cpu" else None,
    }
    table = render(about, rates, lines)
    content = {
        **about,
        "rates": {precision: asdict(each) for precision, each in rates.items()},
        "lines": [asdict(line) for line in lines],
    }
    text = json.dumps(content, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", chip.lower()).strip("-")
    for kind, each in (("json", text), ("md", table)):
        write_atomically(folder / f"training-{slug}.{kind}", each + "\n")
    return table, text


def render(about: dict[str, Any], rates: dict[str, Rates], lines: list[Line]) -> str:
    """Return the lines as a Markdown table, with what was measured of the chip below it."""
    with_memory = any(line.timing.memory for line in lines)
    header = ["row", "way", "images/s", "ms/iteration", "times usual", "floor ms", "of floor"]
    cells = []
    for line in lines:
        timing = line.timing
        spread = f"{1e3 * timing.lowest:.1f} to {1e3 * timing.highest:.1f}"
        cells.append(
            [
                line.row,
                line.way,
                f"{line.batch_size / timing.seconds:,.0f}",
                f"{1e3 * timing.seconds:.1f} ({spread})",
                "" if line.of_usual is None else f"{line.of_usual:.2f}",
                f"{1e3 * line.floor:.1f} {line.bound}",
                f"{line.floor / timing.seconds:.0%}",
                f"{timing.first:.1f}",
                *([f"{(timing.memory or 0) / 2**20:,.0f}"] if with_memory else []),
            ]
        )
    header += ["first s", *(["MiB"] if with_memory else [])]
    ceilings = ", ".join(
        f"{precision} {each.operations / 1e9:,.0f} GFLOP/s" for precision, each in rates.items()
    )
    bandwidth = max(each.bandwidth for each in rates.values()) / 1e9
    machine = about["cpu"] if about["device"] == "cpu" else f"{about['device']}; {about['cpu']}"
    return "\n".join(
        [
            markdown(header, cells),
            "",
            f"{about['date']}, {machine}, {about['threads']} threads, torch {about['torch']}, "
            f"torchvision {about['torchvision']}.",
            f"Measured ceilings: {ceilings}, copy {bandwidth:,.1f} GB/s. The floor is the larger "
            f"of arithmetic and least memory traffic.",
            "Medians of rounds taken by turns (fastest to slowest). Usual loop: torchvision "
            "transforms in loader processes, fp32, loss and errors read in each iteration, batch "
            "norm over the whole mini-batch.",
        ]
    )
