"""Where and how a run is computed; the same run on any of them."""

import re
from dataclasses import dataclass

from resnet_repro.errors import require


@dataclass(kw_only=True)
class ComputeConfig:
    """Where a run is computed; the same run on any of them.

    Attributes:
        device: `auto` (cuda, else mps, else cpu) or torch's name of one.
        threads: CPU threads; null leaves the choice to torch.
        processes: Processes that train one network together, each its share of every mini-batch.
            null: one per visible GPU for photographs, else one.
        workers: Processes that read photographs, for each of these; null: one per CPU core.
        deterministic: On CUDA, only algorithms that give the same bits each time (slower).
        channels_last: Maps lie in memory as (N, H, W, C); null: where that is faster.
        graph: Capture an iteration as a CUDA graph and replay it; null: where that can be.
        compile: Compile blocks, each shape once (half a minute at the start).
        recompute: Keep the input of every so many blocks alone, and compute the rest again in the
            backward pass: less memory, a third more arithmetic; null keeps everything.
        runs_per_gpu: Runs side by side on each GPU; null: as many as a short measurement finds
            best. On a machine without a GPU, on its CPU, where null is one.
        log_every: Iterations between two measurements of the training error.
        save_minutes: Minutes between two checkpoints: the most work that a power cut costs.
    """

    device: str = "auto"
    threads: int | None = None
    processes: int | None = None
    workers: int | None = None
    deterministic: bool = False
    channels_last: bool | None = None
    graph: bool | None = None
    compile: bool = False
    recompute: int | None = None
    runs_per_gpu: int | None = None
    log_every: int = 200
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device) is not None,
            f"compute.device={self.device}: it can be auto, cpu, cuda, cuda:1 or mps",
        )
        require(
            1 <= self.log_every <= 50_000,
            f"compute.log_every={self.log_every}: 1 to 50000 iterations",
        )
        require(self.save_minutes >= 0, f"compute.save_minutes={self.save_minutes}: 0 or more")
        for name, least in (
            ("threads", 1),
            ("processes", 1),
            ("workers", 0),
            ("runs_per_gpu", 1),
            ("recompute", 1),
        ):
            value = getattr(self, name)
            require(value is None or value >= least, f"compute.{name}={value}: at least {least}")
        require(
            (self.processes or 1) == 1 or ":" not in self.device,
            f"compute.processes={self.processes} takes several devices, compute.device="
            f"{self.device} is one: say compute.device=auto",
        )
