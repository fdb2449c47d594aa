"""Results as one tar or zip file: packed on one machine, and unpacked on another."""

import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.files import written_atomically
from resnet_repro.records import Record
from resnet_repro.records.archive import RECORDS_FILE
from resnet_repro.records.collect.line import Action
from resnet_repro.records.collect.source import (
    AFTER,
    BEFORE,
    BOARD,
    CHECKPOINT,
    EVENTS,
    RECORD,
    Source,
)
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.members import DAMAGED, Opener, members, why_damaged
from resnet_repro.records.packed import LARGEST

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz"}
WANTED = {*BEFORE, RECORD, *AFTER, RECORDS_FILE}
CHUNK = 2**20  # bytes
LONGEST = 255  # bytes of a name, on all usual file systems
DEEPEST = 10


def pack(
    results: Path, file: Path, takes: Callable[[Path], bool] = lambda _: False
) -> Iterator[Action]:
    """Pack the records of results into one file, which `collect` reads.

    Args:
        results: The output root.
        file: What to write: .tar, .tar.gz or .tgz.
        takes: Whether to pack a checkpoint too; asked with its path.

    Yields:
        What was packed, and what is left out.

    Raises:
        UserError: There is nothing to pack, or the file's name or folder is not right.
    """
    mode = next((MODES[kind] for kind in MODES if file.name.endswith(kind)), None)
    if mode is None:
        raise UserError(f"pack={file}: name a file that ends in {', '.join(MODES)}")
    if not file.parent.is_dir():
        raise UserError(f"pack={file}: there is no folder {file.parent}")
    source = Source(results, str(results))
    if not source.has_results():
        raise UserError(f"{results} has no runs and no records to pack")
    try:
        with (
            written_atomically(file) as temporary,
            # Links to other files of the results as those files: `collect` takes no links.
            tarfile.open(temporary, mode, dereference=True) as packed,  # type: ignore[call-overload]
        ):
            yield from _pack(source, packed, takes)
    except OSError as error:
        raise UserError(f"pack={file}: {error.strerror}: {error.filename or file}") from error


def _pack(
    source: Source, packed: tarfile.TarFile, takes: Callable[[Path], bool]
) -> Iterator[Action]:
    def add(path: Path) -> None:
        packed.add(path, path.relative_to(source.root), recursive=False, filter=_anonymous)

    runs = (found for seed, found in source.names.items() if seed is not None)  # no ensembles
    for id in sorted(id for found in runs for id in found.values()):
        folder = source.runs / id
        try:
            if Record(folder).is_running():
                yield Action("skipped", id, source.name, "a process is in it")
                continue
            files = source.files(folder, with_weights=True)
            files = [path for path in files if path.name != CHECKPOINT or takes(path)]
        except DamagedError as error:
            yield Action("damaged", id, source.name, str(error))
            continue
        for path in files:
            add(path)
        yield Action("packed", id, source.name)
    for path in (*(folder / "evaluations.json" for folder in source.tested()), *source.archives):
        add(path)
        yield Action("packed", str(path.relative_to(source.root)), source.name)
    for name, why in source.left_out():
        yield Action("skipped", name, source.name, why)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(file: Path, folder: Path, *, with_weights: bool) -> tuple[Path, list[str]]:
    """Unpack what can be collected of a tar or zip file, and nothing else.

    Args:
        file: A .tar, compressed or not, or a .zip, whoever made it.
        folder: An empty one, in which all files are written.
        with_weights: Whether to unpack checkpoints too.

    Returns:
        The folder of results in it, and the names of members that are refused: they lead out of
        the folder, or are no regular files.

    Raises:
        UserError: The file is neither, or is damaged, or holds more than records can be.
    """
    refused, left = [], LARGEST
    try:
        for name, content in members(file):
            parts = name.removeprefix("./").split("/")
            if "__MACOSX" in parts or parts[-1].startswith("._"):  # what macOS adds to files
                continue
            is_board = BOARD in parts[-2:-1] and parts[-1].startswith(EVENTS)
            is_weights = parts[-1] == CHECKPOINT
            if not (parts[-1] in WANTED or is_board) or (is_weights and not with_weights):
                continue
            if content is None or len(parts) > DEEPEST or not all(map(_is_plain, parts)):
                refused.append(name)
                continue
            try:
                size = _write(content, folder.joinpath(*parts), None if is_weights else left)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                refused.append(name)  # one member is a file, another one a folder of that name
                continue
            left -= 0 if is_weights else size
            if left < 0:
                raise UserError(f"{file}: its records have more than {LARGEST >> 20} MiB")
    except (OSError, *DAMAGED) as error:
        if getattr(error, "errno", None) is not None:  # the disk's, not the file's
            raise
        why = why_damaged(error)
        raise UserError(f"{file} is damaged ({why}): copy or pack it again") from error
    return _root(folder), refused


def _is_plain(part: str) -> bool:
    """Return whether a part of a name is a name itself, on any system."""
    return (
        part not in ("", ".", "..")
        and not {"\\", "\0", ":"} & {*part}
        and len(part.encode("utf-8", "surrogateescape")) <= LONGEST
    )


def _write(opened: Opener, path: Path, most: int | None) -> int:
    """Write a member to a file, up to a byte more than `most`; return how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("wb") as file, opened() or BytesIO() as content:
        while chunk := content.read(CHUNK if most is None else min(CHUNK, most + 1 - written)):
            written += file.write(chunk)
    return written


def _root(folder: Path) -> Path:
    """Return the folder of results in what was unpacked: its top, or the only folder in that."""
    for _ in range(DEEPEST):
        inner = list(folder.iterdir())
        if Source(folder, "").has_results() or len(inner) != 1 or not inner[0].is_dir():
            break
        (folder,) = inner
    return folder
