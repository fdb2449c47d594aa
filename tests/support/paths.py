"""Where things are in a checkout, and copies of them."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results/published"
REFERENCE = ROOT / "tests/reference"
DATA = Path(os.environ.get("RESNET_REPRO_DATA", ROOT / "data")).absolute()
ROOTS = {"mine": "results", "published": "results/published"}  # of results


def copy_published(folder: Path, *names: str) -> None:
    """Copy what is published, without what commands of the README write beside it.

    Args:
        folder: Where it is copied to.
        names: Folders below the published ones; none for all.
    """
    written = shutil.ignore_patterns("report.html", "calibration.json", "runs")
    for name in names or ("",):
        shutil.copytree(PUBLISHED / name, folder / name, ignore=written)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
