"""Proposals of a set of photographs by a finished network, kept in the folder of its run.

They are made once, in parts: a stopped run resumes at the part that is missing, and runs that need
the same proposals (other seeds, a detector with context) find them.
"""

import hashlib
import logging
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from resnet_repro.detection.feed import Sample, SceneFeed, mirror
from resnet_repro.detection.pyramid import ImagePyramid
from resnet_repro.detection.scenes import Scenes
from resnet_repro.distributed.group import Flag, Group
from resnet_repro.engine.detection.restore import restore_detector
from resnet_repro.engine.execution import Execution
from resnet_repro.engine.log import no_bars
from resnet_repro.errors import StoppedRun
from resnet_repro.files import write_atomically
from resnet_repro.plan import Run

logger = logging.getLogger("resnet_repro")

PART = 500  # photographs per file


class ProposalFiles:
    """Proposals of a set of photographs.

    Args:
        folder: The folder of the files.
        num_images: The number of photographs.
    """

    def __init__(self, folder: Path, num_images: int) -> None:
        self._folder, self.num_images = folder, num_images
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
        """Return the numbers of the parts that are not there."""
        number = -(-self.num_images // PART)
        return [part for part in range(number) if not self._path(part).is_file()]

    def positions(self, part: int) -> range:
        """Return the photographs of a part."""
        return range(part * PART, min((part + 1) * PART, self.num_images))

    def write(self, part: int, boxes: list[Tensor]) -> None:
        """Write a part: (m, 4) for each of its photographs."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ends = np.cumsum([0, *map(len, boxes)]).astype("<i8")
        rows = torch.cat([each.float().cpu() for each in boxes]).numpy().astype("<f4")
        write_atomically(self._path(part), ends.tobytes() + rows.tobytes())

    def _path(self, part: int) -> Path:
        return self._folder / f"{part:05}.bin"

    def _read_part(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        count = len(self.positions(part)) + 1
        path = self._path(part)
        ends = np.fromfile(path, "<i8", count)
        boxes = np.memmap(path, "<f4", "r", offset=8 * count, shape=(int(ends[-1]), 4))
        return boxes, ends


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
    config = run.config
    assert config.data.boxes is not None
    asked = (scenes.checksum(), before, after, config.data.image_size, config.data.boxes.longest)
    digest = hashlib.sha256(repr(asked).encode()).hexdigest()[:8]
    files = ProposalFiles(folder / f"proposals-{digest}", len(scenes))
    missing = group.broadcast(files.missing())
    if not missing:
        return files
    detector, inputs = restore_detector(run, folder, execution)
    own = missing[group.rank :: group.size]
    hidden = None if group.is_main and not no_bars() else True
    if group.is_main:
        logger.info("%s: proposals for %d photographs", run.id, len(scenes))
    stopped = False
    bar = tqdm(total=len(own) * PART, desc="proposals", unit="photo", disable=hidden, leave=False)
    with bar:
        for part in own:
            boxes: dict[int, Tensor] = {}
            for position, pixels in feed.pixels(scenes, files.positions(part)):
                stopped = stop is not None and stop.is_set()
                if stopped:
                    break
                photograph = feed.photograph(pixels, inputs=inputs)
                pyramid = ImagePyramid(
                    detector, photograph, config.detector, config.data, [config.data.image_size]
                )
                with execution.autocast:
                    boxes[position] = pyramid.propose(before, after)[0]
                bar.update()
            if stopped:
                break
            nothing = torch.zeros(0, 4)
            files.write(part, [boxes.get(each, nothing) for each in files.positions(part)])
    if group.all_reduce_any(stopped)[0]:
        raise StoppedRun("stopped while proposals were made; run the same command to resume")
    return files
