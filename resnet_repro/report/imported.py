"""Tests of weights that others published; these are kept apart from our own results."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_repro.records import Record
from resnet_repro.records.errors import DamagedError
from resnet_repro.settings.data import IMAGENET
from resnet_repro.text import markdown

logger = logging.getLogger("resnet_repro")


@dataclass(frozen=True)
class ImportedTest:
    """A test of weights that others published; errors in %.

    Attributes:
        weights: Name of the weights' file.
        network: Name of the network.
        data: Title of the test images.
        protocol: Key of the test protocol.
        error: Top-1 error.
        top5: Top-5 error; None where it was not counted.
        published_error: Published top-1 error for the same protocol; None where it is not known.
        published_top5: Published top-5 error for the same protocol; None where it is not known.
    """

    weights: str
    network: str
    data: str
    protocol: str
    error: float
    top5: float | None
    published_error: float | None
    published_top5: float | None


def find_imported(results: Path) -> list[ImportedTest]:
    """Return the recorded tests of weights that others published."""
    found = []
    for folder in sorted((results / "imported").glob("*/")):
        try:
            tests = Record(folder).evaluations()
        except DamagedError as error:
            logger.warning("skipped: %s", error)
            continue
        for key, test in tests.items():
            if "imported" not in test:
                continue
            top5 = test.get("num_errors_top5")
            published: Any = test.get("published")
            on_its_data = test["data"] == IMAGENET
            same = published and published["protocol"] == key and on_its_data
            found.append(
                ImportedTest(
                    weights=test["imported"],
                    network=test["network"],
                    data=test["data"],
                    protocol=key,
                    error=100 * test["num_errors"] / test["num_images"],
                    top5=None if top5 is None else 100 * top5 / test["num_images"],
                    published_error=published["error"] if same else None,
                    published_top5=published["top5"] if same else None,
                )
            )
    return found


def imported_text(found: list[ImportedTest]) -> str:
    """Return a table of tests of published weights."""
    rows = [
        [
            each.weights,
            each.network,
            each.data,
            each.protocol,
            f"{each.error:.2f}",
            "" if each.top5 is None else f"{each.top5:.2f}",
            ""
            if each.published_error is None
            else f"{each.published_error:.2f} / {each.published_top5:.2f}",
        ]
        for each in found
    ]
    header = ["imported, not trained here", "network", "data", "protocol", "error", "top-5",
              "as published"]  # fmt: skip
    return markdown(header, rows)
