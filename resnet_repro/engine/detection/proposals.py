"""Proposals of a set of photographs by a finished network, kept in the folder of its run.

They are made once, in parts: a stopped run resumes at the part that is missing, and runs that need
the same proposals (a detector with context, another test) find them, or make other parts while one
is locked by another process. A photograph that was skipped as unreadable has none; the next run
that asks makes its part again, as it may have been repaired.
"""

import fcntl
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from resnet_repro.detection.feed import Sample, SceneFeed, mirror
from resnet_repro.detection.network import Detector
from resnet_repro.detection.pyramid import ImagePyramid
from resnet_repro.detection.scenes import Scenes
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.detection.restore import restore_network
from resnet_repro.engine.execution import Execution, choose_precision, kept_precision
from resnet_repro.engine.log import no_bars
from resnet_repro.errors import StoppedRun
from resnet_repro.files import lock, write_atomically
from resnet_repro.plan import Run

logger = logging.getLogger("resnet_repro")

BOX_BYTES = 16
PART = 100  # photographs per file
WAIT_SECONDS = 1.0  # before parts that other processes make are looked at again

Proposer = Callable[[int, Tensor], Tensor]


class ProposalFiles:
    """Proposals of a set of photographs.

    Args:
        folder: The folder of the files.
        num_images: The number of photographs.
    """

    def __init__(self, folder: Path, num_images: int) -> None:
        self._folder, self.num_images = folder, num_images
        # A mapped file: photographs are drawn at random, from many parts.
        self._read = lru_cache(8)(self._read_part)

    def __getitem__(self, position: int) -> Tensor:
        """Return the boxes of a photograph, best first: (m, 4), in its pixels, on the CPU."""
        boxes, ends = self._read(position // PART)
        row = position % PART
        return torch.from_numpy(boxes[ends[row] : ends[row + 1]].copy())

    def of_sample(self, sample: Sample) -> Tensor:
        """Return the boxes of a training photograph, mirrored if it is, on its device."""
        boxes = self[sample.index]
        if sample.mirrored:
            boxes = mirror(boxes, sample.photograph.width)
        return boxes.to(sample.boxes.device)

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are not there, cut off, or without a photograph."""
        number = -(-self.num_images // PART)
        return [part for part in range(number) if not self.is_whole(part)]

    def positions(self, part: int) -> range:
        """Return the photographs of a part."""
        return range(part * PART, min((part + 1) * PART, self.num_images))

    def write(self, part: int, boxes: list[Tensor | None]) -> None:
        """Write a part: (m, 4) for each of its photographs; None of one that cannot be read."""
        self._folder.mkdir(parents=True, exist_ok=True)
        made = [torch.zeros(0, 4) if each is None else each.float().cpu() for each in boxes]
        ends = np.cumsum([0, *map(len, made)]).astype("<i8")
        unread = np.array([False, *(each is None for each in boxes)])
        ends[unread] = ~ends[unread]  # below 0
        rows = torch.cat(made).numpy().astype("<f4")
        write_atomically(self._path(part), ends.tobytes() + rows.tobytes())

    @contextmanager
    def locked(self, part: int) -> Iterator[bool]:
        """Lock a part while it is made; yield False, at once, if another process has the lock.

        If the lock file cannot be written, no lock is taken: no other process can write there
        either.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            is_ours = True
            try:
                file = stack.enter_context((self._folder / f"{part:05}.lock").open("a"))
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_ours = False
            except OSError:
                pass
            yield is_ours

    def _path(self, part: int) -> Path:
        return self._folder / f"{part:05}.bin"

    def is_whole(self, part: int) -> bool:
        """Return whether a part is there as it was written, and all its photographs were read."""
        path, count = self._path(part), len(self.positions(part)) + 1
        if not path.is_file():
            return False
        ends = np.fromfile(path, "<i8", count)
        return (
            len(ends) == count
            and ends[0] == 0
            and bool((np.diff(ends) >= 0).all())
            and path.stat().st_size == ends.nbytes + BOX_BYTES * int(ends[-1])
        )

    def _read_part(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        content = np.memmap(self._path(part), np.uint8, "r")
        begin = 8 * (len(self.positions(part)) + 1)
        ends = np.array(content[:begin]).view("<i8")
        ends = np.where(ends < 0, ~ends, ends)
        return content[begin:].view("<f4").reshape(-1, 4), ends


def make_proposals(
    run: Run,
    folder: Path,
    scenes: Scenes,
    feed: SceneFeed,
    before: int | None,
    after: int,
    execution: Execution,
    group: Group,
    stop: Flag | None,
) -> ProposalFiles:
    """Return a finished network's proposals of photographs; make those that are not there.

    Args:
        run: The finished run of the network.
        folder: That run's folder.
        scenes: The photographs.
        feed: What reads them.
        before: Number of the best before non-maximum suppression; None: all.
        after: Number of the best that remain.
        execution: The way networks are computed.
        group: The processes that share the work.
        stop: Whether a stop was requested.

    Raises:
        StoppedRun: It was; finished parts are kept.
        UserError: The network's weights are not there, or a photograph cannot be read.
    """
    config, size = run.config, run.config.data.image_size
    assert config.data.boxes is not None
    asked = (scenes.checksum(), before, after, size, config.data.boxes.longest)
    digest = hashlib.sha256(repr(asked).encode()).hexdigest()[:8]
    files = ProposalFiles(folder / f"proposals-{digest}", len(scenes))

    def maker() -> Proposer:
        detector, inputs = restore_network(run, folder, execution)
        assert isinstance(detector, Detector)

        def propose(_: int, pixels: Tensor) -> Tensor:
            photograph = feed.photograph(pixels, inputs=inputs)
            pyramid = ImagePyramid(detector, photograph, config.detector, config.data, [size])
            return pyramid.propose(before, after)[0]

        return propose

    fill(files, run, scenes, feed, maker, execution, group, stop)
    return files


def fill(
    files: ProposalFiles,
    run: Run,
    scenes: Scenes,
    feed: SceneFeed,
    maker: Callable[[], Proposer],
    execution: Execution,
    group: Group,
    stop: Flag | None,
) -> None:
    """Make the proposals of photographs that are not there.

    Parts that another process is making are left to it, and looked at again after all others.

    Args:
        files: Their files.
        run: The finished run of the network.
        scenes: The photographs.
        feed: What reads them.
        maker: Loads the network; returns its proposals for a photograph by position and pixels.
        execution: The way networks are computed.
        group: The processes that share the work.
        stop: Whether a stop was requested.

    Raises:
        StoppedRun: It was; finished parts are kept.
    """
    missing = group.broadcast(files.missing())
    if not missing:
        return
    own = missing[group.rank :: group.size]
    hidden = None if group.is_main and not no_bars() else True
    if group.is_main:
        logger.info("%s: proposals for %d photographs", run.id, len(scenes))
    total = sum(len(files.positions(part)) for part in own)
    with (
        kept_precision(),  # the network's own, whatever the precision of the run that asks
        tqdm(total=total, desc="proposals", unit="photo", disable=hidden, leave=False) as bar,
    ):
        autocast = choose_precision(run.config.recipe.precision, execution.device)
        propose = maker()

        def is_stopped() -> bool:
            return stop is not None and stop.is_set()

        def make(part: int) -> bool:
            """Make a part; return False, without writing it, if a stop was requested."""
            boxes: dict[int, Tensor] = {}
            with closing(feed.pixels(scenes, files.positions(part))) as photographs:
                for position, pixels in photographs:
                    if is_stopped():
                        return False
                    with autocast:
                        boxes[position] = propose(position, pixels).cpu()
                    bar.update()
            files.write(part, [boxes.get(each) for each in files.positions(part)])
            return True

        stopped = not _make_all(files, own, make, is_stopped)
    if group.all_reduce_any(stopped)[0]:
        raise StoppedRun("stopped while proposals were made; run the same command to resume")


def _make_all(
    files: ProposalFiles,
    parts: Sequence[int],
    make: Callable[[int], bool],
    is_stopped: Callable[[], bool],
) -> bool:
    """Make parts, those last that are locked by others; return False if a stop was requested."""
    waits = False
    while parts:
        left = []
        for part in parts:
            with files.locked(part) as is_ours:
                if is_stopped():
                    return False
                if not is_ours:
                    left.append(part)
                elif not files.is_whole(part) and not make(part):  # whole: by now, by another run
                    return False
        if left:
            if not waits:
                logger.info("waiting for proposals that another process is making")
            waits = True
            time.sleep(WAIT_SECONDS)
        parts = left
    return True
