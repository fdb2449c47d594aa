"""A folder of results as a source: what is in it, and no link that leads out of it."""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from resnet_repro.plan import RESERVED
from resnet_repro.records import curves
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.find_archives import archives_in
from resnet_repro.records.folders import Names, run_folders

TESTS, RECORD, BOARD = "evaluations.json", "record.jsonl", "tensorboard"
EVENTS = "events.out.tfevents"  # how the names of TensorBoard's files begin
CHECKPOINT, SAVED = "last.pt", "saved"
# Of a run's folder; those of its checkpoint come after the record, which must not be behind it.
BEFORE = ("config.yaml", "environment.json", TESTS, curves.CURVES_FILE, "run.log")
AFTER = (CHECKPOINT, SAVED)

_EXPERIMENT = re.compile(r"\w[\w.+=, -]*")
_ENSEMBLE = re.compile(r"[A-Za-z0-9.+=-]+-of\d+-[0-9a-f]{8}")
# Of published weights; other photographs than ImageNet's have their title and a digest.
_IMPORTED = re.compile(r"\w[^/\\]*-[0-9a-f]{8}(-[^/\\]*-[0-9a-f]{4})?")


class Source:
    """A folder of results that is only read.

    Args:
        root: The folder.
        name: How it is named in messages; what was unpacked has the name of its file.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self._resolved = root.resolve()
        self.runs = root / "runs"

    def has_results(self) -> bool:
        """Return whether there is anything to collect."""
        return bool(self.names or self.archives or any(self.tested()))

    @cached_property
    def names(self) -> Names:
        """The names of the folders of runs, by seed, then by digest."""
        return run_folders(self.runs) if self.holds(self.runs) else {}

    @cached_property
    def archives(self) -> list[Path]:
        """The files of records, those of changed settings and sweeps last."""
        return [
            path
            for path in archives_in(self.root)
            if (place := path.relative_to(self.root).parts)[0] not in RESERVED
            and all(_EXPERIMENT.fullmatch(part) for part in place[:-1])
            and self.holds(path)
        ]

    def tested(self) -> Iterator[Path]:
        """Yield the folders of ensembles and of imported weights, which have tests alone."""
        for parent, pattern in ((self.runs, _ENSEMBLE), (self.root / "imported", _IMPORTED)):
            folders = sorted(parent.iterdir()) if self.holds(parent) and parent.is_dir() else []
            for folder in folders:
                if pattern.fullmatch(folder.name) and self.holds(folder / TESTS):
                    yield folder

    def left_out(self) -> list[tuple[str, str]]:
        """Return what is in the folder and is not collected, and why."""
        found = []
        if self.runs.is_symlink() and not self.holds(self.runs):
            found.append(("runs", f"a link that leads out of {self.name}: name its folder"))
        if (self.root / "benchmarks").is_dir():
            found.append(("benchmarks", "it holds that machine's speeds; copy what you need"))
        return found

    def holds(self, path: Path) -> bool:
        """Return whether a file or folder is there, and no link leads out of the source to it."""
        try:
            return path.resolve(strict=True).is_relative_to(self._resolved)
        except (OSError, RuntimeError):  # not there; links in a circle
            return False

    def files(self, folder: Path, *, with_weights: bool) -> list[Path]:
        """Return the files of a run to copy, in the order in which they may appear one by one.

        Raises:
            DamagedError: One of them is a link that leads out of the source, or no regular file.
        """
        board = folder / BOARD
        boards = sorted(board.iterdir()) if self.holds(board) and board.is_dir() else []
        boards = [
            path
            for path in boards
            if path.name.startswith(EVENTS) and path.is_file() and not path.is_symlink()
        ]
        before = [folder / name for name in BEFORE]
        after = [folder / name for name in AFTER if with_weights or name != CHECKPOINT]
        paths = [*before, *boards, folder / RECORD, *after]
        found = [path for path in paths if path.is_symlink() or path.exists()]
        for path in found:
            if not self.holds(path):
                raise DamagedError(f"{self.label(path)} is a link that leads out of {self.name}")
            if not path.is_file():
                raise DamagedError(f"{self.label(path)} is not a regular file")
        return found

    def label(self, path: Path) -> str:
        """Return the name of a path in messages."""
        return f"{self.name}/{path.relative_to(self.root)}"

    def say(self, error: Exception) -> str:
        """Return what an error says, with the source's name in place of its folder."""
        return str(error).replace(str(self.root), self.name)
